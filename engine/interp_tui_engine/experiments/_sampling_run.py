"""A sampling run from model to store: what `sample` and `llc` (and all that build on samples) do before they estimate. Imports torch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import psutil
import torch

from .. import atomic
from ..catalog import Result
from ..data.rows import TokenRows, load_rows
from ..errors import RunFailed, UserError
from ..estimators.diagnostics import LiveDiagnostics
from ..estimators.llc import compute_llc
from ..events import ArrayWritten, ChainFailed, Event, Metrics, Phase, Progress, RunStarted, Warned
from ..figures import Curve, Level, lines_svg
from ..manifest import Manifest
from ..models.load import load_model
from ..models.loaded import LoadedModel
from ..samplers.chains import ChainsResult, ChainsSnapshot, Command, run_chains
from ..samplers.executor import Executor, choose_executor
from ..samplers.problem import ModuleProblem
from ..samplers.settings import SamplerConfig
from ..samplers.store import ObservableSpec, SampleStore, digests, open_samples
from ._sampling import SamplingParams, config_of
from ._sampling_report import report_of
from ._stream import stream
from .context import Context, Interrupted, Ticker, parse_bytes, parse_interval

STORE = "samples.zarr"
REPORT_EVERY = 0.4
"""Seconds between looks at the chains: a view repaints twice a second."""
ESTIMATE_EVERY = 1.0
POINTS_PER_REPORT = 32
"""Most loss points a chain adds to one event; faster chains are thinned to bucket means."""
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
    reporter = _Reporter(config, model, emit)
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


class _Reporter:
    """Turns snapshots of the chains into events."""

    def __init__(self, config: SamplerConfig, model: LoadedModel, emit: Callable[[Event], None]) -> None:
        self._config, self._model, self._emit = config, model, emit
        self._traced: dict[int, int] = {}
        self._failed: set[int] = set()
        self._estimate = Ticker(ESTIMATE_EVERY)
        self._diagnostics: LiveDiagnostics | None = None
        self._first_steps: int | None = None

    def report(self, snapshot: ChainsSnapshot) -> None:
        chains = snapshot.chains
        for chain in chains:
            if chain.failed_reason is not None and chain.chain not in self._failed:
                self._failed.add(chain.chain)
                self._emit(ChainFailed(chain.chain, chain.failed_step or 0, chain.failed_reason))
        done, total = snapshot.steps_done, snapshot.steps_per_chain * len(chains)
        if self._first_steps is None:
            self._first_steps = done
        rate = (done - self._first_steps) / snapshot.seconds if snapshot.seconds > 0 else 0.0
        self._emit(Progress(done, total, "steps", (total - done) / rate if rate > 0 else None))
        n_beta, burnin = self._config.n_beta, self._config.num_burnin_steps
        self._emit(
            Metrics(
                "chains",
                max(c.step for c in chains),
                {
                    "chains": [c.chain for c in chains],
                    "step": [c.step for c in chains],
                    "steps_total": snapshot.steps_per_chain,
                    "draws": [c.draws for c in chains],
                    "draws_total": self._config.num_draws,
                    "burnin": burnin,
                    "loss": [c.loss for c in chains],
                    "llc": [None if c.mean_loss is None else n_beta * (c.mean_loss - snapshot.init_loss) for c in chains],
                    "grad": [c.gradient_norm for c in chains],
                    "distance": [c.distance for c in chains],
                    "trace": [self._new_points(snapshot, row) for row in range(len(chains))],
                },
            )
        )
        if self._estimate.due() or done == total:
            estimates = self._estimates(snapshot)
            self._emit(Metrics("estimate", max(c.step for c in chains), estimates))
            self._emit(Metrics("headline", max(c.step for c in chains), headline(estimates)))

    def _new_points(self, snapshot: ChainsSnapshot, row: int) -> list[list[float]]:
        """Draw and loss of a chain's draws since the last report, thinned to means of equal buckets."""
        chain = snapshot.chains[row]
        start, stop = self._traced.get(chain.chain, 0), chain.draws
        self._traced[chain.chain] = stop
        if not chain.healthy or stop <= start:
            return []
        edges = np.unique(np.linspace(start, stop, min(POINTS_PER_REPORT, stop - start) + 1).astype(int))
        points = []
        for left, right in pairwise(edges):
            mean = float(snapshot.trace[row, left:right].mean())
            if math.isfinite(mean):
                points.append([int(right) - 1, round(mean, 6)])
        return points

    def _estimates(self, snapshot: ChainsSnapshot) -> dict[str, Any]:
        if self._diagnostics is None:
            self._diagnostics = LiveDiagnostics(snapshot.init_loss, self._config.n_beta)
        summary = self._diagnostics.update(snapshot.trace)
        memory = psutil.Process().memory_info().rss
        device = torch.cuda.max_memory_allocated(self._model.device) if self._model.device.type == "cuda" else None
        return {
            "llc_mean": summary.llc,
            "llc_std_error": summary.llc_std_error,
            "rhat": summary.rhat,
            "ess": summary.ess,
            "init_loss": snapshot.init_loss,
            "tokens_per_second": snapshot.tokens_per_second,
            "memory_bytes": memory,
            "device_memory_bytes": device,
        }


def headline(estimates: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that a listing shows."""
    return {key: estimates[key] for key in ("llc_mean", "llc_std_error", "rhat") if estimates.get(key) is not None}


def result(done: Sampled, *, with_llc: bool) -> Result:
    """What a finished sampling run says: result.json's numbers, a report with its figure, and a digest of each array."""
    folder = done.context.folder
    samples = open_samples(folder.path / STORE)
    estimate = compute_llc(samples)
    failed = {c.chain: {"step": c.failed_step, "cause": c.failed_reason} for c in done.chains.snapshot.chains if not c.healthy}
    trace = estimate["loss_trace"].values
    healthy = [int(c) for c in estimate.attrs["healthy_chains"]]
    values: dict[str, Any] = {
        "init_loss": float(estimate["init_loss"]),
        "loss_mean": float(trace[healthy, done.config.num_burnin_steps :].mean()),
        "healthy_chains": healthy,
        "failed_chains": {str(chain): why for chain, why in failed.items()},
        "tokens_per_second": done.chains.snapshot.tokens_per_second,
        "rhat": float(estimate["rhat"]),
        "ess": float(estimate["ess"]),
        "seconds": done.seconds,
        "executor": done.chains.executor.record(),
    }
    if with_llc:
        per_chain = estimate["llc_per_chain"].values.tolist()
        values = {
            "llc_mean": float(estimate["llc_mean"]),
            "llc_std": float(estimate["llc_std"]),
            "llc_std_error": float(estimate["llc_std_error"]),
            "llc_per_chain": per_chain,
        } | values
    _write_figure(done, trace, values["init_loss"])
    shown = {
        key: values[key] for key in ("llc_mean", "llc_std_error", "loss_mean", "rhat", "ess") if math.isfinite(values.get(key, math.nan))
    }
    return Result(values, shown, report_of(done, values), digests(folder.path / STORE))


def _write_figure(done: Sampled, trace: Any, init_loss: float) -> None:
    """The loss of each chain over its steps, as bucket means: a figure is some 600 points wide."""
    steps = trace.shape[1]
    edges = np.unique(np.linspace(0, steps, min(steps, 600) + 1).astype(int))
    middles = ((edges[:-1] + edges[1:] - 1) / 2).tolist()
    curves = [
        Curve(f"chain {chain}", middles, [float(row[a:b].mean()) for a, b in pairwise(edges)])
        for chain, row in enumerate(trace)
        if np.isfinite(row).all()
    ]
    figures = done.context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    svg = lines_svg(
        f"Loss along {len(curves)} chains: {done.manifest.name}", "step", "loss, nats a token", curves, [Level("L(w₀)", init_loss)]
    )
    atomic.write_text(figures / "loss.svg", svg)
