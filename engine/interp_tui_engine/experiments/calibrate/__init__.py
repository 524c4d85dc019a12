"""Which step size and temperature to sample a model with: a grid of short samplings, each with a control, and a verdict."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.calibrate import LIVE, CalibrateHeadline, CalibrateResult
from ...runtime.context import Context
from .. import _sampling
from .._sampling import many
from .params import Params, cell_manifest, cells

EXAMPLE: dict[str, Any] = {
    "name": "grid",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 256}},
    "params": {
        "lr": [2.5e-5, 1e-4],
        "n_beta": [300.0, 3000.0],
        "localization": [1000.0],
        "num_chains": 2,
        "num_draws": 40,
        "num_burnin_steps": 120,
        "batch_size": 8,
        "num_init_loss_batches": 16,
    },
}


def check(manifest: Manifest) -> list[Problem]:
    """What one of its samplings would refuse, and values given twice."""
    params: Params = manifest.params
    distinct = {name: (getattr(params, name), "a value") for name in ("lr", "n_beta", "localization")}
    return many.problems(distinct, lambda: cell_manifest(manifest, cells(params)[0]))


def estimate(manifest: Manifest) -> Estimate:
    """That of one sampling, times the settings."""
    settings = cells(manifest.params)
    return many.estimate(_sampling.estimate(cell_manifest(manifest, settings[0])), len(settings), "samplings")


def run(context: Context) -> Generator[Event, None, Result]:
    """Sample every setting, then say which to use."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="calibrate",
    title="Calibrate the sampler",
    question="Which step size and temperature suit this model?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=CalibrateResult,
    headline=CalibrateHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
