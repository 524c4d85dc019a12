"""What calibrate may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field

from ...manifest import Manifest, resolve
from ...models.restrictions.patterns import GroupedHeads
from ...samplers.registry import METHODS
from ...samplers.settings import SamplingMethod
from ...specs import Table
from .._sampling import GROUPED_HEADS

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
    grouped_heads: GroupedHeads = Field("shared", description=GROUPED_HEADS)


def cells(params: Params) -> list[dict[str, float]]:
    """The settings to sample, controls last for each localization and step size: what changes slowest first."""
    n_betas = [*params.n_beta, *([0.0] if params.control else [])]
    names = ("localization", "lr", "n_beta")
    return [dict(zip(names, values, strict=True)) for values in itertools.product(params.localization, params.lr, n_betas)]


def cell_manifest(manifest: Manifest, setting: dict[str, float], *, draws: bool = True) -> Manifest:
    """The llc run of one setting. Without `draws`, as a user would start it: four times the draws of a trial."""
    params: Params = manifest.params
    kept = {name: value for name, value in params.model_dump().items() if name not in ("control", "lr", "n_beta", "localization")}
    if not METHODS[params.sampling_method].langevin:  # its step has no Metropolis test
        kept["acceptance_every"] = 0
    if not draws:
        kept |= {"num_draws": 4 * params.num_draws, "num_chains": max(4, params.num_chains)}
        del kept["acceptance_every"]
    tables = manifest.to_dict()
    return resolve({**tables, "kind": "llc", "params": kept | setting})
