"""A sampling run from model to store: what `sample` and `llc` (and all that build on samples) do before they estimate. Imports torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import atomic
from ..data.rows import TokenRows, load_rows
from ..errors import RunFailed, UserError
from ..events import ArrayWritten, Event, Phase, RunStarted, Warned
from ..manifest import Manifest
from ..models.load import load_model
from ..models.loaded import LoadedModel
from ..samplers.chains import ChainsResult, Command, run_chains
from ..samplers.executor import Executor, choose_executor
from ..samplers.problem import ModuleProblem
from ..samplers.settings import SamplerConfig
from ..samplers.store import ObservableSpec, SampleStore
from ._sampling import SamplingParams, config_of
from ._sampling_events import Reporter
from ._stream import stream
from .context import Context, Interrupted, parse_bytes, parse_interval

STORE = "samples.zarr"
REPORT_EVERY = 0.4
"""Seconds between looks at the chains: a view repaints twice a second."""
DEFAULT_BUDGET = 256 << 20
SMALL_STATE = 256 << 20


@dataclass(frozen=True)
class Sampled:
    """A finished sampling run: its request, what it ran on, and how its chains ended."""

    manifest: Manifest
    config: SamplerConfig
    context: Context
    chains: ChainsResult
    seconds: float


def run(context: Context) -> Generator[Event, None, Sampled]:
    """Load, sample, store; events on the way. Raises Interrupted after a stop, RunFailed when no chain is left."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, SamplingParams)
    config = config_of(manifest)

    yield Phase("loading model", manifest.model.source if manifest.model else "")
    model = _model(manifest)
    names = list(dict.fromkeys([params.sampling_data, *params.observables]))
    rows: dict[str, TokenRows] = {}
    for name in names:
        yield Phase("reading data", f"{name}: {manifest.data[name].source}")
        rows[name] = load_rows(manifest.data[name], model.tokenizer, name=name)
    _fits(model, rows)

    problem = _problem(manifest, params, model, rows)
    executor = _executor(context, problem, config)
    yield RunStarted(
        manifest.kind, manifest.name, device=str(model.device), resumed=context.resumed, provenance=_provenance(model, rows, executor)
    )
    observables = tuple(
        ObservableSpec(o.name, o.rows, n, None if o.input_ids is None else o.input_ids.cpu().numpy().astype(np.int64))
        for o, n in zip(problem.observables, params.observables.values(), strict=True)
    )
    attrs = {"kind": manifest.kind, "name": manifest.name, "n_beta": config.n_beta, "sampling_data": params.sampling_data}
    store = SampleStore.create(context.folder.path / STORE, config, problem.positions, observables, attrs, problem.space.numel)
    yield ArrayWritten(STORE, ("chain", "step", "batch_sampling", "token_pos"), store.arrays["sampling_loss_micro"].shape, 0)

    yield Phase("sampling", f"{config.num_chains} chains, {executor.mode}")
    done = yield from stream(lambda emit: _sample(context, problem, config, store, executor, model, emit))
    if done.interrupted:
        raise Interrupted
    if not any(chain.healthy for chain in done.snapshot.chains):
        first = done.snapshot.chains[0]
        raise RunFailed(
            f"all {config.num_chains} chains failed; chain {first.chain} at step {first.failed_step}: {first.failed_reason}",
            "lower lr, raise localization, or lower n_beta",
        )
    return Sampled(manifest, config, context, done, time.monotonic() - started)


def _model(manifest: Manifest) -> LoadedModel:
    spec = manifest.model
    assert spec is not None, "the catalog says that sampling needs a model"
    if spec.backend != "transformers":
        raise UserError(f"model.backend = {spec.backend!r} cannot be sampled yet", "use backend = 'transformers'")
    return load_model(spec.source, revision=spec.revision, device=spec.device, dtype=spec.dtype, backend=spec.backend)


def _fits(model: LoadedModel, rows: dict[str, TokenRows]) -> None:
    limit = getattr(getattr(model.module, "config", None), "max_position_embeddings", None)
    for name, data in rows.items():
        if isinstance(limit, int) and data.context > limit:
            raise UserError(f"data.{name}.context = {data.context}, but the model has {limit} positions", f"use context = {limit} or less")
        top = int(data.ids.max())
        if top >= model.vocab_size:
            raise UserError(
                f"data.{name} holds token id {top}, but the model knows {model.vocab_size} tokens", "was it tokenised for another model?"
            )


def _problem(manifest: Manifest, params: SamplingParams, model: LoadedModel, rows: dict[str, TokenRows]) -> ModuleProblem:
    masks = None
    if params.restriction != "full":
        wanted = [params.restriction] if isinstance(params.restriction, str) else params.restriction
        known = dict(model.module.named_parameters())
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UserError(
                f"params.restriction names no parameter of the model: {', '.join(unknown)}", f"such as {', '.join(list(known)[:4])}"
            )
        masks = {name: None for name in wanted}
    return ModuleProblem(
        model.module,
        rows[params.sampling_data].ids.long(),
        {name: (rows[name].ids.long(), count) for name, count in params.observables.items()},
        params.batch_size,
        masks=masks,
        budget=parse_bytes(manifest.compute.memory_budget) or DEFAULT_BUDGET,
        obs_seed=params.obs_seed,
    )


def _executor(context: Context, problem: ModuleProblem, config: SamplerConfig) -> Executor:
    """How the chains run: as this shard chose when it first started, else as the manifest says, else by estimate."""
    path = context.shard_path / "executor.json"
    known = atomic.read_json(path)
    if isinstance(known, dict):
        return Executor(**known)
    compute = context.manifest.compute
    executor = choose_executor(problem, config, range(config.num_chains), compute.chains, compute.threads)
    atomic.write_json(path, executor.record())
    return executor


def _provenance(model: LoadedModel, rows: dict[str, TokenRows], executor: Executor) -> dict[str, Any]:
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else f"cpu, {os.cpu_count()} cores"
    threads = max(executor.workers, executor.intra_threads)
    return {
        "weights_sha256": model.weights_hash,
        "tokenizer_sha256": model.tokenizer_hash,
        "parameters": model.num_parameters,
        "device": device,
        "datasets": {name: data.fingerprint for name, data in rows.items()},
        "executor": executor.record(),
        "compute": {"chains": executor.mode, "threads": threads},
    }


def _sample(
    context: Context,
    problem: ModuleProblem,
    config: SamplerConfig,
    store: SampleStore,
    executor: Executor,
    model: LoadedModel,
    emit: Callable[[Event], None],
) -> ChainsResult:
    every = parse_interval(context.manifest.compute.checkpoint_every)
    if every is None:
        every = 10.0 if 8 * problem.space.numel < SMALL_STATE else 120.0
    reporter = Reporter(config, model.device, emit)
    return run_chains(
        problem,
        config,
        chains=range(config.num_chains),
        store=store,
        executor=executor,
        checkpoint_dir=context.checkpoint_path,
        checkpoint_every=every,
        poll=lambda: Command(context.poll()),
        report=reporter.report,
        report_every=REPORT_EVERY,
        warn=lambda message: emit(Warned(message)),
    )
