"""The Python interface: devinterp's names and signatures on this engine, and the same sampling for any loss.

Differences from devinterp 2.0.1, on purpose: models are sampled in eval mode; burn-in and failed chains are left out of the LLC; a store
is taken for a finished result only if model, data, settings and masks are the same; sampling resumes after a kill.

The kinds' generators are not drained here: they begin with a manifest and end in a run folder, in which no loaded module, mask, tensor or
loss function can stand. What is shared lies below them: `choose_executor`, `SampleStore`, `run_chains` and the estimators.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from .. import manifest as manifests
from .. import supervisor
from ..errors import OtherContents, RunFailed, UserError
from ..estimators.llc import compute_llc
from ..events import Stamped
from ..models.given import module_of
from ..runfolder import RunFolder, new_run_path, runs_root
from ..samplers.batches import OBSERVABLE_SEED
from ..samplers.chains.executor import choose_executor
from ..samplers.chains.run import ChainsSnapshot, Command, run_chains
from ..samplers.chains.step_tokens import with_input_ids
from ..samplers.chains.store import ObservableSpec, SampleStore
from ..samplers.chains.store import open_samples as store_at
from ..samplers.settings import SamplerConfig
from ..samplers.target.prefix_cache import PrefixCache
from ..samplers.target.problem import Batch, FunctionTarget, Loss, ModuleTarget, SamplingTarget
from .rows import Rows, token_ids

Masks = Mapping[str, Tensor | None]
LossFn = Callable[[nn.Module, Tensor], Tensor]
Chains = Literal["auto", "threads", "stacked", "vmap", "serial"]
CHECKPOINT_EVERY = 60.0


def sample(
    model: nn.Module,
    dataset: Rows,
    observables: Mapping[str, Rows | tuple[Rows, int]],
    *,
    lr: float,
    n_beta: float,
    param_masks: Masks | None = None,
    num_chains: int = 4,
    num_draws: int = 200,
    batch_size: int = 32,
    num_burnin_steps: int = 0,
    num_steps_bw_draws: int = 1,
    num_init_loss_batches: int = 32,
    init_seed: int = 100,
    batches_per_draw: int = 3,
    obs_seed: int = OBSERVABLE_SEED,
    gradient_accumulation_steps: int = 1,
    localization: float = 0.0,
    noise_level: float = 1.0,
    llc_weight_decay: float = 0.0,
    bounding_box_size: float | None = None,
    sampling_method: str = "sgmcmc_sgld",
    sampling_method_kwargs: Mapping[str, Any] | None = None,
    rmsprop_eps: float | None = None,
    rmsprop_alpha: float | None = None,
    shuffle: bool = True,
    match_sampling_input_ids_across_chains: bool = True,
    init_noise: float | None = None,
    baseline: Literal["paired", "init"] = "paired",
    device: str | None = None,
    save_metrics: bool = False,
    output_path: str | Path | None = None,
    loss_fn: LossFn | None = None,
    chains: Chains = "auto",
    on_progress: Callable[[ChainsSnapshot], None] | None = None,
    prefixes: PrefixCache | None = None,
) -> xr.DataTree:
    """Sample the tempered posterior around a model's weights by SGLD, with per-token losses of the observables at each draw.

    dataset: token rows (n, t+1): a Hugging Face Dataset with `input_ids`, TokenRows, or an integer tensor. observables: name -> rows, or
    (rows, batches per draw). param_masks: which parameters move, all of them when None. device: where to compute; the model's own when
    None. baseline: whether losses at w0 are taken on the rows of each step, or only on the first batches. prefixes: what is computed once
    for several restrictions of one model and data. output_path: the Zarr store, a temporary folder when None; if it holds this very
    sampling it is gone on with, or returned.

    Returns the lazily read store: losses in nats, float32 (see samplers.store), and `sampling_input_ids_micro`, looked up in the data when
    it is read. Raises UserError for settings or data that cannot be
    used, RunFailed when every chain fails.
    """
    kwargs = dict(sampling_method_kwargs or {})
    for key, value in (("eps", rmsprop_eps), ("alpha", rmsprop_alpha)):
        if value is None:
            continue
        if sampling_method != "rmsprop_sgld":
            what = f"rmsprop_{key} can only be set with sampling_method = 'rmsprop_sgld'; it is {sampling_method!r}"
            raise UserError(what, "use sampling_method='rmsprop_sgld'")
        if key in kwargs:
            raise UserError(f"specify only one of rmsprop_{key} and sampling_method_kwargs[{key!r}]", "both are given")
        kwargs[key] = value
    config = config_of(
        lr=lr,
        n_beta=n_beta,
        num_chains=num_chains,
        num_draws=num_draws,
        batch_size=batch_size,
        num_burnin_steps=num_burnin_steps,
        num_steps_bw_draws=num_steps_bw_draws,
        num_init_loss_batches=num_init_loss_batches,
        init_seed=init_seed,
        gradient_accumulation_steps=gradient_accumulation_steps,
        localization=localization,
        noise_level=noise_level,
        llc_weight_decay=llc_weight_decay,
        bounding_box_size=bounding_box_size,
        sampling_method=sampling_method,
        sampling_method_kwargs=kwargs,
        shuffle=shuffle,
        match_sampling_input_ids_across_chains=match_sampling_input_ids_across_chains,
        init_noise=init_noise,
        baseline=baseline,
        save_metrics=save_metrics,
    )
    model = module_of(model)
    if device is not None:
        model = model.to(device)
    seen = {name: given if isinstance(given, tuple) else (given, batches_per_draw) for name, given in observables.items()}
    ids = token_ids(dataset, "dataset")
    problem = ModuleTarget(
        model,
        ids,
        {name: (token_ids(rows, name), count) for name, (rows, count) in seen.items()},
        batch_size,
        masks=param_masks,
        loss_fn=loss_fn,
        obs_seed=obs_seed,
        prefixes=prefixes,
    )
    counts = [count for _, count in seen.values()]
    fingerprint = _fingerprint(problem, param_masks, dict(model.named_parameters()))
    return with_input_ids(_sample(problem, config, counts, output_path, chains, on_progress, fingerprint), ids.cpu().numpy())


def sample_function(
    loss: Loss,
    parameters: Mapping[str, Tensor],
    data: Batch,
    observables: Mapping[str, Batch | tuple[Batch, int]] | None = None,
    *,
    param_masks: Masks | None = None,
    batches_per_draw: int = 1,
    obs_seed: int = OBSERVABLE_SEED,
    output_path: str | Path | None = None,
    chains: Chains = "auto",
    on_progress: Callable[[ChainsSnapshot], None] | None = None,
    **settings: Any,
) -> xr.DataTree:
    """`sample` for any differentiable `loss(params, batch) -> (b,) or (b, positions)`: a regression, a toy singular model.

    data: a tensor, or several, whose first axis counts examples. settings: those of SamplerConfig. Returns what `sample` returns.
    """
    config = config_of(**settings)
    given = observables or {}
    seen = {
        name: value if isinstance(value, tuple) and isinstance(value[1], int) else (value, batches_per_draw)
        for name, value in given.items()
    }
    problem = FunctionTarget(loss, parameters, data, seen, config.batch_size, masks=param_masks, obs_seed=obs_seed)
    counts = [int(count) for _, count in seen.values()]
    return _sample(problem, config, counts, output_path, chains, on_progress, _fingerprint(problem, param_masks, parameters))


def llc(
    model: nn.Module,
    dataset: Rows,
    observables: Mapping[str, Rows | tuple[Rows, int]],
    *,
    lr: float,
    n_beta: float,
    param_masks: Masks | None = None,
    loss_fn: LossFn | None = None,
    include_burnin: bool = False,
    **kwargs: Any,
) -> xr.Dataset:
    """Sample, then estimate the local learning coefficient (Lau et al. 2023). See `sample` and `compute_llc`.

    baseline = "paired" (the default) compares each step's loss with that of its own rows at w0; "init" with include_burnin gives
    devinterp's number.
    """
    samples = sample(model, dataset, observables, lr=lr, n_beta=n_beta, param_masks=param_masks, loss_fn=loss_fn, **kwargs)
    return compute_llc(samples, include_burnin=include_burnin)


def run(
    request: manifests.Manifest | Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    on_event: Callable[[Stamped], None] = lambda stamped: None,
) -> RunFolder:
    """Run a manifest (a value, its tables, or its file) to its end and return its folder.

    Raises RunFailed if it ends otherwise than done.
    """
    if isinstance(request, (str, Path)):
        request = manifests.load(Path(request))
    elif not isinstance(request, manifests.Manifest):
        request = manifests.resolve(request)
    path = Path(out).absolute() if out is not None else new_run_path(runs_root(), request.kind, request.name)
    folder = supervisor.prepare(request, path)
    status = supervisor.supervise(folder, on_event)
    if status.state != "done":
        raise RunFailed(f"{folder.path.name} {status.state}: {status.exit.get('reason', '')}", str(status.exit.get("advice", "")))
    return folder


def config_of(**settings: Any) -> SamplerConfig:
    """Checked settings. Raises UserError with pydantic's own words."""
    try:
        return SamplerConfig.model_validate(settings)
    except ValueError as error:  # pydantic's own, which names each field
        raise UserError(str(error)) from None


def _fingerprint(problem: SamplingTarget, masks: Masks | None, parameters: Mapping[str, Tensor]) -> str:
    """sha256 over what is sampled: all weights at w₀, those that stay fixed too, the masks, and the rows of data and observables."""
    digest = hashlib.sha256()
    for tensor in parameters.values():
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    for name, mask in sorted((masks or {}).items()):
        digest.update(name.encode())
        if mask is not None:
            digest.update(mask.detach().cpu().contiguous().numpy().data)
    everything: list[Batch] = [problem.batch(torch.arange(problem.rows)), *(observable.data for observable in problem.observables)]
    for batch in everything:
        tensors: Sequence[Tensor] = [batch] if isinstance(batch, Tensor) else list(batch.values()) if isinstance(batch, Mapping) else batch
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _sample(
    problem: SamplingTarget,
    config: SamplerConfig,
    batches_per_draw: Sequence[int],
    output_path: str | Path | None,
    chains: Chains,
    on_progress: Callable[[ChainsSnapshot], None] | None,
    fingerprint: str,
) -> xr.DataTree:
    executor = choose_executor(problem, config, range(config.num_chains), chains)
    path = Path(output_path) if output_path is not None else Path(tempfile.mkdtemp(prefix="interp-tui-")) / "samples.zarr"
    settings = config.model_dump(exclude={"baseline"} if config.baseline == "paired" else None)  # stores of before there was a choice
    request = hashlib.sha256((fingerprint + json.dumps([settings, executor.mode, executor.width], sort_keys=True)).encode()).hexdigest()
    if path.exists():
        held = dict(store_at(path).attrs)
        if held.get("request") != request:
            what = f"{path} holds other samples: of a different sampler config, model, data or masks"
            raise OtherContents(what, "choose another output_path")
        if held.get("completed"):
            return store_at(path)
    observables = tuple(
        ObservableSpec(o.name, o.rows, n, None if o.input_ids is None else o.input_ids.cpu().numpy().astype(np.int64))
        for o, n in zip(problem.observables, batches_per_draw, strict=True)
    )
    attrs = {"request": request, "n_beta": config.n_beta}
    store = SampleStore.create(path, config, problem.positions, observables, attrs, problem.space.numel)
    done = run_chains(
        problem,
        config,
        chains=range(config.num_chains),
        store=store,
        executor=executor,
        checkpoint_dir=path.with_name(path.name + ".checkpoint") if output_path is not None else None,
        checkpoint_every=CHECKPOINT_EVERY,
        poll=lambda: Command.GO,
        report=on_progress or (lambda snapshot: None),
        report_every=0.5,
        warn=warnings.warn,
    )
    if not any(chain.healthy for chain in done.snapshot.chains):
        first = done.snapshot.chains[0]
        raise RunFailed(f"all chains failed; chain 0 at step {first.failed_step}: {first.failed_reason}", "lower lr, or raise localization")
    return store_at(path)
