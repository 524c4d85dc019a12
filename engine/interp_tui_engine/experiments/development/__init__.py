"""How a model's geometry and knowledge grow over its training: the same measurements at each of its checkpoints, in one figure."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.development import LIVE, DevelopmentHeadline, DevelopmentResult
from ...runtime.context import Context
from .._sampling import many
from .params import Params, checkpoint_manifest

EXAMPLE: dict[str, Any] = {
    "name": "stages",
    "model": {"source": "builtin:tiny"},
    "data": {
        "prose": {"source": "builtin:prose", "context": 32, "rows": 128},
        "code": {"source": "builtin:code", "context": 32, "rows": 32},
        "facts": {"source": "builtin:facts", "context": 32, "rows": 32},
    },
    "params": {
        "revisions": ["step-0", "step-50", "step-100", "step-150", "step-250", "step-700", "final"],
        "restrictions": ["l0 attn"],
        "seeds": 2,
        "lr": 4e-5,
        "n_beta": 30.0,
        "localization": 30000.0,
        "num_chains": 2,
        "num_draws": 40,
        "num_burnin_steps": 10,
        "num_steps_bw_draws": 2,
        "batch_size": 8,
        "num_init_loss_batches": 16,
        "sampling_data": "prose",
        "observables": {"prose": 1, "code": 1, "facts": 1},
    },
}


def check(manifest: Manifest) -> list[Problem]:
    """What the run of a checkpoint would refuse, and checkpoints given twice."""
    params: Params = manifest.params
    return many.problems({"revisions": (params.revisions, "a checkpoint")}, lambda: checkpoint_manifest(manifest, params.revisions[0]))


def estimate(manifest: Manifest) -> Estimate:
    """That of one checkpoint, times the checkpoints and their seeds."""
    from ...catalog import get

    params: Params = manifest.params
    checkpoint = checkpoint_manifest(manifest, params.revisions[0])
    return many.estimate(get(checkpoint.kind).estimate(checkpoint), len(params.revisions) * params.seeds, "samplings of checkpoints")


def run(context: Context) -> Generator[Event, None, Result]:
    """Measure one checkpoint after another."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="development",
    title="Development over training",
    question="In which stages was this model formed?",
    group="Learning theory",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=DevelopmentResult,
    headline=DevelopmentHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
