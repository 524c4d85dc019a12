"""A sampling run from model to store: what `sample` and `llc` (and all that build on samples) do before they estimate. Imports torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ... import atomic
from ...data.rows import TokenRows, load_rows
from ...errors import RunFailed, UserError
from ...events import ArrayWritten, Event, Phase, RunStarted, Warned
from ...manifest import Manifest
from ...models.loaded import LoadedModel
from ...models.restrictions.masks import masks_of, selection_of
from ...models.restrictions.patterns import as_taken
from ...runtime import open_model
from ...runtime.context import Context, Interrupted, parse_bytes, parse_interval
from ...runtime.stream import stream
from ...samplers.chains.chain import intra_threads
from ...samplers.chains.checkpoint import interval
from ...samplers.chains.control import control_rises
from ...samplers.chains.executor import Executor, chain_bytes, choose_executor
from ...samplers.chains.run import ChainsResult, Command, run_chains
from ...samplers.chains.store import ObservableSpec, SampleStore
from ...samplers.fused.available import why_not
from ...samplers.settings import SamplerConfig
from ...samplers.target.prefix_cache import PrefixCache
from ...samplers.target.problem import ModuleTarget, SamplingTarget
from . import ObservingParams, SamplingParams, by_ranks, config_of
from .live_events import Reporter

if TYPE_CHECKING:
    from ...samplers.sharded.ranks import Ranks
    from ...samplers.sharded.target import ShardedTarget

STORE = "samples.zarr"
REPORT_EVERY = 0.4
"""Seconds between looks at the chains: a view repaints twice a second."""
CONTROL_DRAWS = 4
"""Each two forward passes of a micro-batch. Over a million weights that scatter alike, one draw tells the loss to some 5 %."""
DEFAULT_BUDGET = 256 << 20
CHECKPOINT_EVERY = 10.0
"""Seconds, where chains are small."""


@dataclass(frozen=True)
class Sampled:
    """A finished sampling run: its request, what it ran on, and how its chains ended."""

    manifest: Manifest
    config: SamplerConfig
    context: Context
    chains: ChainsResult
    model: LoadedModel
    seconds: float
    tokens_per_second: float
    rows: Mapping[str, TokenRows]
    control: NDArray[np.float64] | None = None
    """How far the loss rises with noise and localization alone, by draw (`samplers.chains.control`), where asked for and known."""


def run(context: Context, *, control: bool = False) -> Generator[Event, None, Sampled]:
    """Load, sample, store; events on the way. Of a run that several workers share, this one's chains, or at the end what all sampled.
    With `control`, also what the loss would do without its pull.

    Raises Interrupted after a stop, RunFailed when no chain is left.
    """
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, SamplingParams)
    config = config_of(manifest)
    with by_ranks.ranks_of(context) as ranks:
        model, rows = yield from load(manifest) if ranks is None else by_ranks.loaded_once(load, manifest, ranks)
        notes = () if params.restriction == "full" else selection_of(model.module, as_taken(params.restriction, params.grouped_heads)).notes
        problem: ModuleTarget | ShardedTarget
        if ranks is None:
            problem = problem_of(manifest, model, rows, params.restriction)
            whole = executor_of(context, problem, config)
        else:
            problem = by_ranks.problem_of(manifest, model, rows, ranks)
            whole = by_ranks.executor_of(manifest, ranks)
        device = open_model.held_by(model.device if ranks is None else ranks.device, 1 if ranks is None else ranks.count)
        yield RunStarted(
            manifest.kind,
            manifest.name,
            device=device,
            resumed=context.resumed,
            provenance=provenance_of(model, rows, whole, manifest, ranks),
        )
        for note in (*notes, *notes_on_update(manifest, whole, problem, config)) if context.is_primary else ():
            yield Warned(note)
        with context.alone():
            store = create_store(context.folder.path / STORE, manifest, config, problem)
        yield ArrayWritten(STORE, ("chain", "step", "batch_sampling", "token_pos"), store.arrays["sampling_loss_micro"].shape, 0)

        share = context.share
        chains: Sequence[int] = share.work["chains"] if share and share.work is not None else range(config.num_chains)
        executor = executor_here(context, whole, len(chains))
        if share and share.merges:
            yield Phase("joining", f"{config.num_chains} chains of {share.of} workers")
        else:
            yield Phase("sampling", f"{len(chains)} {'chain' if len(chains) == 1 else 'chains'}, {executor.mode}")
        done = yield from stream(lambda emit: _sample(context, problem, config, chains, store, executor, model, emit, ranks))
        if done.interrupted:
            by_ranks.meet(ranks)
            raise Interrupted
        if len(chains) == config.num_chains and not any(chain.healthy for chain in done.snapshot.chains):
            first = done.snapshot.chains[0]
            raise RunFailed(
                f"all {config.num_chains} chains failed; chain {first.chain} at step {first.failed_step}: {first.failed_reason}",
                "lower lr, raise localization, or lower n_beta",
            )
        rises = yield from stream(lambda emit: control_of(problem, config, executor)) if control else _nothing()
        by_ranks.meet(ranks)
    seconds = time.monotonic() - started + max((told["seconds"] for told in context.joined), default=0.0)
    speed = done.snapshot.tokens_per_second + sum(told["tokens_per_second"] for told in context.joined)
    return Sampled(manifest, config, context, done, model, seconds, speed, rows, rises)


def _nothing() -> Generator[Event, None, None]:
    yield from ()


def control_of(problem: SamplingTarget, config: SamplerConfig, executor: Executor) -> NDArray[np.float64] | None:
    """How far the loss rises with noise and localization alone."""
    with intra_threads(max(executor.workers, executor.intra_threads)):
        return control_rises(problem, config, CONTROL_DRAWS)


def work(context: Context) -> Generator[Event, None, dict[str, Any]]:
    """One worker's chains; the estimates are for the worker that joins them."""
    done = yield from run(context)
    return {"seconds": done.seconds, "tokens_per_second": done.tokens_per_second}


def load(manifest: Manifest) -> Generator[Event, None, tuple[LoadedModel, dict[str, TokenRows]]]:
    """The model, and the data it samples and observes. Raises UserError where they do not fit."""
    params: ObservingParams = manifest.params
    yield Phase("loading model", manifest.model.source if manifest.model else "")
    model = model_of(manifest)
    rows: dict[str, TokenRows] = {}
    for name in dict.fromkeys([params.sampling_data, *params.observables]):
        yield Phase("reading data", f"{name}: {manifest.data[name].source}")
        rows[name] = load_rows(manifest.data[name], model.tokenizer, name=name)
    check_fits(model, rows)
    return model, rows


def create_store(path: Path, manifest: Manifest, config: SamplerConfig, problem: SamplingTarget) -> SampleStore:
    """The store of one sampling, or what an earlier attempt left of it."""
    params: ObservingParams = manifest.params
    observables = tuple(
        ObservableSpec(o.name, o.rows, n, None if o.input_ids is None else o.input_ids.cpu().numpy().astype(np.int64))
        for o, n in zip(problem.observables, params.observables.values(), strict=True)
    )
    attrs = {"kind": manifest.kind, "name": manifest.name, "n_beta": config.n_beta, "sampling_data": params.sampling_data}
    return SampleStore.create(path, config, problem.positions, observables, attrs, problem.space.numel)


def checkpoint_seconds(manifest: Manifest, problem: SamplingTarget, config: SamplerConfig) -> float:
    """How often chains are checkpointed: as asked for, else so that it costs little."""
    every = parse_interval(manifest.compute.checkpoint_every)
    return every if every is not None else interval(config.num_chains * chain_bytes(problem, config), CHECKPOINT_EVERY)


def model_of(manifest: Manifest) -> LoadedModel:
    """The model to sample. Raises UserError for a backend that cannot be sampled."""
    spec = manifest.model
    assert spec is not None, "the catalog says that sampling needs a model"
    if spec.backend != "transformers":
        raise UserError(f"model.backend = {spec.backend!r} cannot be sampled yet", "use backend = 'transformers'")
    return open_model.load(manifest)


def check_fits(model: LoadedModel, rows: dict[str, TokenRows]) -> None:
    """Raise UserError where rows are longer than the model's context, or hold token ids it does not know."""
    limit = getattr(getattr(model.module, "config", None), "max_position_embeddings", None)
    for name, data in rows.items():
        if isinstance(limit, int) and data.context > limit:
            raise UserError(f"data.{name}.context = {data.context}, but the model has {limit} positions", f"use context = {limit} or less")
        top = int(data.ids.max())
        if top >= model.vocab_size:
            raise UserError(
                f"data.{name} holds token id {top}, but the model knows {model.vocab_size} tokens", "was it tokenised for another model?"
            )


def prefixes_of(manifest: Manifest) -> PrefixCache:
    """Room for what lies below restricted layers, as much as the manifest allows."""
    return PrefixCache(parse_bytes(manifest.compute.memory_budget) or DEFAULT_BUDGET)


def problem_of(
    manifest: Manifest,
    model: LoadedModel,
    rows: Mapping[str, TokenRows],
    restriction: str | list[str],
    prefixes: PrefixCache | None = None,
) -> ModuleTarget:
    """The model's losses with those weights free that the restriction names; see `models.restrictions` for what it may say.

    prefixes: shared by several restrictions of one model and data, so that what lies below them is computed once.
    """
    params: ObservingParams = manifest.params
    taken = as_taken(restriction, params.grouped_heads)
    masks = None if restriction == "full" else masks_of(selection_of(model.module, taken))
    return ModuleTarget(
        model.module,
        rows[params.sampling_data].ids.long(),
        {name: (rows[name].ids.long(), count) for name, count in params.observables.items()},
        params.batch_size,
        masks=masks,
        budget=parse_bytes(manifest.compute.memory_budget) or DEFAULT_BUDGET,
        obs_seed=params.obs_seed,
        prefixes=prefixes,
        computes_in=torch.bfloat16 if manifest.compute.precision == "bf16" else None,
    )


def executor_of(context: Context, problem: ModuleTarget, config: SamplerConfig, *, parts: bool = False) -> Executor:
    """How the run's chains run: as was chosen when it first started, else as the manifest says, else by estimate.

    parts: whether the same executor samples parts of the problem's weights as well.

    One choice for all workers, as a single one would make it: a chain's numbers must not depend on how many there are.
    """
    path = context.common_path / "executor.json"
    with context.alone():
        known = atomic.read_json(path)
        if isinstance(known, dict):
            executor = Executor(**known)
            moved = executor.update == "kernel" and why_not(problem.space, config, executor.noise)  # to a machine without the kernel
            return replace(executor, update="operations") if moved else executor
        compute = context.manifest.compute
        chains, how = range(config.num_chains), compute.chains
        executor = choose_executor(problem, config, chains, how, compute.threads, noise=compute.noise, update=compute.update, parts=parts)
        atomic.write_json(path, executor.record())
        return executor


def notes_on_update(manifest: Manifest, executor: Executor, problem: SamplingTarget, config: SamplerConfig) -> tuple[str, ...]:
    """Why updates are made operation by operation where a kernel was asked for, or could be hoped for."""
    wanted, philox = manifest.compute.update, executor.noise == "philox" and problem.space.device.type == "cuda" and not problem.space.part
    if executor.update == "kernel" or wanted == "operations" or not (wanted == "kernel" or philox):
        return ()
    reason = why_not(problem.space, config, executor.noise)
    return (f"noise and update are launched operation by operation, not as one kernel: {reason}",) if reason else ()


def executor_here(context: Context, whole: Executor, chains: int) -> Executor:
    """The run's executor as this worker uses it: with its part of the machine, or all of it when it is the only one."""
    share = context.share
    return whole if share is None or share.merges else whole.among(share.of, chains)


def provenance_of(
    model: LoadedModel, rows: dict[str, TokenRows], executor: Executor, manifest: Manifest, ranks: Ranks | None = None
) -> dict[str, Any]:
    """What the run was made with, for its manifest: hashes of model and data, the device, how chains run."""
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else f"cpu, {os.cpu_count()} cores"
    precision = {"precision": manifest.compute.precision}
    threads = max(executor.workers, executor.intra_threads) * (ranks.count if ranks is not None else 1)
    return {
        **model.identity,
        "device": device,
        **open_model.gpu_of(model.device if ranks is None else torch.device(ranks.mesh.device_type)),
        "datasets": {name: data.fingerprint for name, data in rows.items()},
        "executor": executor.record(),
        "compute": {"chains": executor.mode, "threads": threads, "noise": executor.noise, "update": executor.update, **precision},
    }


def _sample(
    context: Context,
    problem: ModuleTarget | ShardedTarget,
    config: SamplerConfig,
    chains: Sequence[int],
    store: SampleStore,
    executor: Executor,
    model: LoadedModel,
    emit: Callable[[Event], None],
    ranks: Ranks | None,
) -> ChainsResult:
    reporter = Reporter(config, model.device, emit)
    every = checkpoint_seconds(context.manifest, problem, config)
    return run_chains(
        problem,
        config,
        chains=chains,
        store=store,
        executor=executor,
        checkpoint_dir=context.checkpoint_path,
        checkpoint_every=every if ranks is None else None,
        poll=(lambda: Command(context.poll())) if ranks is None else by_ranks.agreed_order(context, ranks, every),
        report=reporter.report,
        report_every=REPORT_EVERY,
        warn=lambda message: emit(Warned(message)),
    )
