"""What the sampling kinds share: their parameters, checks and estimate. Torch-free; the run itself is in `run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from ...catalog import Estimate
from ...errors import Problem
from ...manifest import Manifest
from ...models.restrictions.patterns import GroupedHeads
from ...runtime import cost, inputs
from ...samplers.registry import METHODS
from ...samplers.settings import SamplerConfig
from . import restriction_check

PositiveInt = Annotated[int, Field(gt=0)]
GROUPED_HEADS = (
    "what l0h1 moves where heads share keys and values: 'shared' = its queries, its outputs and the shared rows, as devinterp does; "
    "'own' = queries and outputs only, as if it were spelled 'l0h1 own'"
)
LOOKS = 4
"""At the Metropolis acceptance, in each chain after burn-in."""


class ObservingParams(SamplerConfig):
    """The sampler's settings, and which of the manifest's data it samples and observes."""

    lr: float = Field(gt=0, allow_inf_nan=False, description=SamplerConfig.model_fields["lr"].description)
    init_seed: int | None = Field(None, ge=0, description="seed of noise and data order; the manifest's seed when left out")  # type: ignore[assignment]
    sampling_data: str = Field("train", description="which [data.NAME] the sampler's gradients come from")
    observables: dict[str, PositiveInt] = Field(default_factory=dict, description="dataset = batches of it to evaluate at each draw")
    obs_seed: int = Field(1337, ge=0, description="seed that picks the observables' fixed rows")
    grouped_heads: GroupedHeads = Field("shared", description=GROUPED_HEADS)


class SamplingParams(ObservingParams):
    """One sampling, of all weights or of a part of them."""

    restriction: str | list[str] = Field(
        "full",
        description="which weights move: full, l0, l0 attn, l0 mlp, l0h1, l0g0, embed, unembed, a parameter's name, a list of these",
    )


def config_of(manifest: Manifest) -> SamplerConfig:
    """The sampler's settings of a sampling manifest, with the seed it resolves to."""
    params: ObservingParams = manifest.params
    seed = manifest.seed if params.init_seed is None else params.init_seed
    given: dict[str, Any] = {name: getattr(params, name) for name in SamplerConfig.model_fields}
    config = SamplerConfig.model_validate(given | {"init_seed": seed, "acceptance_every": params.acceptance_every or 0})
    return config if params.acceptance_every is not None else config.model_copy(update={"acceptance_every": _few_looks(config)})


def _few_looks(config: SamplerConfig) -> int:
    """Steps between looks at the acceptance such that there are some four after burn-in; 0 where there can be none."""
    if not METHODS[config.sampling_method].langevin or config.noise_level == 0:
        return 0
    return max(1, config.num_draws * config.num_steps_bw_draws // LOOKS)


def check(manifest: Manifest) -> list[Problem]:
    """What pydantic cannot see: params that name data which is not there, or not enough of it."""
    params: ObservingParams = manifest.params
    names = ", ".join(manifest.data)
    problems = backend_problems(manifest)
    if params.sampling_data not in manifest.data:
        message = f"{params.sampling_data!r} is none of the manifest's data: {names}"
        problems.append(Problem("params.sampling_data", message, value=params.sampling_data))
        return problems
    train = manifest.data[params.sampling_data]
    for name, batches in params.observables.items():
        if name not in manifest.data:
            problems.append(Problem(f"params.observables.{name}", f"{name!r} is none of the manifest's data: {names}", value=name))
            continue
        spec = manifest.data[name]
        if spec.context != train.context:
            message = f"{spec.context}, but the sampling data has context {train.context}; observables share its positions"
            problems.append(Problem(f"data.{name}.context", message, value=spec.context))
        if spec.rows is not None and spec.rows < batches * params.batch_size:
            message = f"{spec.rows} rows, but its observable needs {batches * params.batch_size} (batches × batch_size)"
            problems.append(Problem(f"data.{name}.rows", message, value=spec.rows))
    if train.rows is not None and train.rows < params.batch_size:
        problems.append(
            Problem(
                f"data.{params.sampling_data}.rows", f"{train.rows} rows, fewer than batch_size = {params.batch_size}", value=train.rows
            )
        )
    if isinstance(params, SamplingParams) and params.restriction != "full":
        problems += restriction_check.problems(manifest, params.restriction, "params.restriction")
    return problems or inputs.data_problems(manifest.data, [params.sampling_data, *params.observables])


def backend_problems(manifest: Manifest) -> list[Problem]:
    """Chains compute with copies of the module, which only transformers' own can be copied as."""
    backend = "transformers" if manifest.model is None else manifest.model.backend
    if backend == "transformers":
        return []
    return [Problem("model.backend", f"{backend!r} cannot be sampled; use 'transformers'", value=backend)]


def estimate(manifest: Manifest) -> Estimate:
    """Of one sampling: see `estimate_of`."""
    params: ObservingParams = manifest.params
    return estimate_of(manifest, [params.restriction if isinstance(params, SamplingParams) else "full"])


def estimate_of(manifest: Manifest, restrictions: Sequence[str | Sequence[str]]) -> Estimate:
    """Of one sampling after another, in one process, of each of these parts.

    Time from the flops of the steps and draws at this machine's own matrix-product rate; memory and disk from shapes.
    """
    params: ObservingParams = manifest.params
    config = config_of(manifest)
    context = manifest.data[params.sampling_data].context
    step_tokens, draw_tokens = config.rows_per_step * context, sum(params.observables.values()) * config.batch_size * context
    losses = 4 * config.num_chains * (config.num_sgld_steps * step_tokens + config.num_draws * (draw_tokens + step_tokens))
    disk = losses * len(restrictions)
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, disk, ("the model's size is not known before it is loaded",))
    # Forward and backward through what lies above, and the gradient of what moves; without a restriction all three are the whole model.
    # A look at the acceptance is a gradient more.
    looks = 1 + (1 / config.acceptance_every if config.acceptance_every else 0.0)
    flops, notes = 0.0, size.notes
    for restriction in restrictions:
        load = None if restriction == "full" else restriction_check.load_of(manifest, restriction)
        above, moving = (size.parameters, size.parameters) if load is None else (load.above, load.moving)
        flops += config.num_chains * config.num_sgld_steps * looks * step_tokens * (4 * above + 2 * moving)
        flops += config.num_chains * 2 * config.num_draws * draw_tokens * above
        flops += 2 * size.parameters * config.num_init_loss_batches * step_tokens
        notes = notes if load is None or len(restrictions) > 1 else (*notes, str(load))
    return Estimate(cost.seconds(flops), cost.memory(size.parameters, step_tokens), disk, notes)


EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {
        "train": {"source": "builtin:prose", "context": 64, "rows": 512},
        "code": {"source": "builtin:code", "context": 64, "rows": 64},
    },
    "params": {
        "lr": 2.5e-5,
        "n_beta": 3000.0,
        "localization": 1000.0,
        "num_chains": 4,
        "num_draws": 100,
        "num_burnin_steps": 150,
        "batch_size": 16,
        "num_init_loss_batches": 32,
        "sampling_data": "train",
        "observables": {"train": 1, "code": 1},
    },
}
"""A manifest's tables for a sampling run that ends within a minute or so on two cores."""
