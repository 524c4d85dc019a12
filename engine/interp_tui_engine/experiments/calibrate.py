"""Which step size and temperature to sample a model with: a grid of short samplings, each with a control, and a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Annotated, Any

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import ManifestError, Problem
from ..events import Event
from ..manifest import Manifest, resolve
from ..samplers.settings import SamplingMethod
from ..specs import Table
from . import _sampling
from .context import Context

TITLE = "Calibrate the sampler"
QUESTION = "Which step size and temperature suit this model?"
GROUP: Group = "Learning theory"
NEEDS = frozenset({"model", "data"})

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Params(Table):
    """The grid, and how each of its settings is sampled."""

    lr: list[Positive] = Field(min_length=1, max_length=24, description="step sizes to try")
    n_beta: list[Positive] = Field(min_length=1, max_length=24, description="inverse temperatures to try; a control at 0 is added")
    localization: list[NotNegative] = Field(default=[100.0], min_length=1, max_length=24, description="strengths of the pull to w₀ to try")
    control: bool = Field(True, description="sample each step size at n_beta = 0 too: where noise alone would take the chains")
    num_chains: int = Field(4, ge=2, description="chains of each setting; R̂ needs two")
    num_draws: int = Field(60, ge=8, description="draws kept per chain")
    num_burnin_steps: int = Field(20, ge=0, description="steps before the first draw")
    num_steps_bw_draws: int = Field(1, gt=0, description="steps from one draw to the next")
    batch_size: int = Field(16, gt=0, description="rows in one step")
    num_init_loss_batches: int = Field(16, gt=0, description="batches for the loss at w₀")
    acceptance_every: int = Field(10, ge=0, description="steps between looks at the MALA acceptance; 0 for none")
    sampling_method: SamplingMethod = Field("sgmcmc_sgld", description="which sampler")
    sampling_data: str = Field("train", description="which [data.NAME] the sampler's gradients come from")
    restriction: str | list[str] = Field("full", description="which weights move")


EXAMPLE: dict[str, Any] = {
    "name": "grid",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 256}},
    "params": {
        "lr": [1e-4, 3e-4],
        "n_beta": [300.0, 3000.0],
        "localization": [1000.0],
        "num_chains": 2,
        "num_draws": 40,
        "num_burnin_steps": 20,
        "batch_size": 8,
        "num_init_loss_batches": 16,
    },
}


def cells(params: Params) -> list[dict[str, float]]:
    """The settings to sample, controls last for each localization and step size: what changes slowest first."""
    n_betas = [*params.n_beta, *([0.0] if params.control else [])]
    names = ("localization", "lr", "n_beta")
    return [dict(zip(names, values, strict=True)) for values in itertools.product(params.localization, params.lr, n_betas)]


def cell_manifest(manifest: Manifest, setting: dict[str, float], *, draws: bool = True) -> Manifest:
    """The llc run of one setting. Without `draws`, as a user would start it: four times the draws of a trial, no look at acceptance."""
    params: Params = manifest.params
    kept = {name: value for name, value in params.model_dump().items() if name not in ("control", "lr", "n_beta", "localization")}
    if params.sampling_method == "sgnht":
        kept["acceptance_every"] = 0
    if not draws:
        kept |= {"num_draws": 4 * params.num_draws, "num_chains": max(4, params.num_chains), "acceptance_every": 0}
    tables = manifest.to_dict()
    return resolve({**tables, "kind": "llc", "params": kept | setting})


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
    from . import _calibrate_run

    return (yield from _calibrate_run.run(context))
