"""Which step size and temperature to sample a model with: a grid of short samplings, each with a control, and a verdict."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import ManifestError, Problem
from ...events import Event
from ...manifest import Manifest
from ...runtime.context import Context
from .. import _sampling
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
    problems = []
    for name in ("lr", "n_beta", "localization"):
        values = getattr(params, name)
        if len(set(values)) < len(values):
            problems.append(Problem(f"params.{name}", "holds a value twice", value=values))
    try:
        cell_manifest(manifest, cells(params)[0])
    except ManifestError as error:
        problems += [Problem(p.path, p.message, None, p.value, p.suggestion) for p in error.problems]
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """That of one sampling, times the settings."""
    settings = cells(manifest.params)
    one = _sampling.estimate(cell_manifest(manifest, settings[0]))
    count = len(settings)
    seconds = None if one.seconds is None else one.seconds * count
    disk = None if one.disk_bytes is None else one.disk_bytes * count
    return Estimate(seconds, one.memory_bytes, disk, (*one.notes, f"{count} samplings"))


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
    run=run,
    check=check,
    estimate=estimate,
)
