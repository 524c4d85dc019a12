"""One sampling after another: of the whole model, then of each restriction, every one with a store of its own. Imports torch.

What is done stays done: a part that has ended leaves a file behind that says how, and a resumed run passes over it. Several workers each
take every n-th part; the one that joins them finds all parts done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ... import atomic
from ...data.names import obs_id
from ...data.rows import TokenRows
from ...errors import RunFailed, UserError
from ...estimators.diagnostics import convergence
from ...events import ChainFailed, Event, Metrics, Phase, Progress, RunStarted, Warned
from ...models.loaded import LoadedModel
from ...models.restrictions.masks import parameter_map_of, selection_of
from ...models.restrictions.patterns import as_taken
from ...results.susceptibilities import PartNow, SampledPart
from ...runtime.context import Context, Interrupted
from ...runtime.stream import stream
from ...samplers.chains.executor import Executor
from ...samplers.chains.initial_loss import know_initial_loss, share_initial_loss
from ...samplers.chains.run import ChainsResult, ChainsSnapshot, Command, run_chains
from ...samplers.settings import SamplerConfig
from ...samplers.target.prefix_cache import PrefixCache
from . import config_of, restriction_check
from . import run as sampling_run

FULL = "full"
STORES = "samples"


@dataclass(frozen=True)
class Part:
    """A restriction that has been sampled. failed: chain -> step and cause."""

    name: str
    parameters: int
    chains: int
    failed: dict[str, str]
    rhat: float | None
    seconds: float

    @property
    def healthy(self) -> bool:
        return len(self.failed) < self.chains


@dataclass(frozen=True)
class SampledParts:
    """All parts that this worker sampled or found, the unrestricted one first, and what they were sampled from."""

    parts: list[Part]
    model: LoadedModel
    rows: dict[str, TokenRows]
    seconds: float


def store_path(context: Context, name: str) -> Path:
    """Where the samples of a restriction lie."""
    return context.folder.path / STORES / f"{slug(name)}.zarr"


def slug(name: str) -> str:
    """A restriction's name as a file name: `l0_mlp`; names of parameters and unions are told apart by a hash."""
    plain = obs_id(name)
    return plain if plain == name.replace(" ", "_") and "_" not in name else f"{plain[:60]}-{sha256(name.encode()).hexdigest()[:8]}"


def named(restriction: str | list[str]) -> str:
    """What a restriction is called: itself, or the parts of a union."""
    return restriction if isinstance(restriction, str) else " + ".join(restriction)


def spelt_out(restrictions: list[str | list[str]], model: LoadedModel) -> dict[str, str | list[str]]:
    """Restrictions by name, each once, with 'heads' and 'layers' replaced by all of them. Raises UserError where there are none."""
    by_name: dict[str, str | list[str]] = {}
    for restriction in restrictions:
        entries: list[str | list[str]] = [restriction]
        if restriction in ("heads", "layers"):
            entries = [*restriction_check.parts_in(parameter_map_of(model.module), str(restriction))]
            if not entries:
                raise UserError(
                    f"params.restrictions holds {restriction!r}, but this model has no {restriction}", "name restrictions it has"
                )
        by_name |= {named(entry): entry for entry in entries}
    return by_name


After = Callable[[int, Part], Iterable[Event]]
"""What is said of a part once it has been sampled: its number, and how it ended."""


def run(context: Context, restrictions: list[str | list[str]], after: After) -> Generator[Event, None, SampledParts]:
    """Load, then sample the whole model and each restriction, or this worker's share of them; events on the way.

    A restriction all of whose chains fail is warned of and left out; if that is the whole model, RunFailed is raised; after a stop,
    Interrupted.
    """
    started = time.monotonic()
    manifest = context.manifest
    config = config_of(manifest)
    model, rows = yield from sampling_run.load(manifest)
    todo: dict[str, str | list[str]] = {FULL: FULL, **spelt_out(restrictions, model)}
    # what the model does not have is said before hours of sampling, and one executor serves all: numbers must not depend on the part
    heads = manifest.params.grouped_heads
    chosen = {name: selection_of(model.module, as_taken(restriction, heads)) for name, restriction in todo.items()}
    problem = sampling_run.problem_of(manifest, model, rows, FULL)
    whole = sampling_run.executor_of(context, problem, config, parts=len(todo) > 1)
    executor = sampling_run.executor_here(context, whole, config.num_chains)
    yield RunStarted(
        manifest.kind,
        manifest.name,
        device=str(model.device),
        resumed=context.resumed,
        provenance=sampling_run.provenance_of(model, rows, whole, manifest),
    )
    notes = [note for selection in chosen.values() for note in selection.notes]
    notes += sampling_run.notes_on_update(manifest, whole, problem, config)
    for note in dict.fromkeys(notes) if context.is_primary else ():
        yield Warned(note)
    context.checkpoint_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = _share_of(context, list(todo))
    if mine and FULL not in mine:  # the initial loss is the whole model's: computed below a restriction, its sums would round otherwise
        know_initial_loss(problem, config, executor, context.checkpoint_path / slug(FULL))
    parts: list[Part] = []
    prefixes = sampling_run.prefixes_of(manifest)
    clock = Clock(len(mine), config.num_sgld_steps * config.num_chains)
    for place, name in enumerate(mine):
        index, restriction = list(todo).index(name), todo[name]
        if context.share and (full := whole_of(context)) and not full.healthy:
            raise _hopeless(full)  # nothing to compare the parts with
        ended = context.checkpoint_path / f"{slug(name)}.json"
        stored = atomic.read_json(ended)
        if isinstance(stored, dict):
            part = Part(**stored)
        else:
            yield Phase("sampling", f"{name}, {index + 1} of {len(todo)}: {chosen[name].selected:,} parameters")
            work = _Work(context, config, model, rows, executor, name, restriction, clock, index, place, prefixes)
            part = yield from stream(work.sample)
            atomic.write_json(ended, asdict(part))
        if not part.healthy:
            why = next(iter(part.failed.values()), "")
            if name == FULL:
                raise _hopeless(part)
            if not context.joined:  # else whoever sampled it has said so
                yield Warned(f"restriction {name}: all chains failed ({why}); it is left out")
        parts.append(part)
        sampled = SampledPart(restriction=name, parameters=part.parameters, failed=len(part.failed), seconds=part.seconds)
        yield Metrics("part", index, sampled.as_json())
        if part.healthy:
            yield from after(index, part)
    seconds = time.monotonic() - started + max((worker["seconds"] for worker in context.joined), default=0.0)
    return SampledParts(parts, model, rows, seconds)


def _share_of(context: Context, names: list[str]) -> list[str]:
    """The parts that this worker samples: every n-th from its own place on, as they were dealt out, or all."""
    share = context.share
    return names if share is None or share.work is None else names[share.work["from"] :: share.work["every"]]


def _hopeless(whole: Part) -> RunFailed:
    why = next(iter(whole.failed.values()), "")
    return RunFailed(f"all {whole.chains} chains of the whole model failed: {why}", "lower lr, raise localization, or lower n_beta")


def whole_of(context: Context) -> Part | None:
    """How the sampling of the unrestricted model ended, which is the first worker's to do; None before."""
    stored = atomic.read_json(context.folder.shard(0) / "checkpoint" / f"{slug(FULL)}.json")
    return Part(**stored) if isinstance(stored, dict) else None


class Clock:
    """Progress over all parts, in steps, from what this process has done."""

    def __init__(self, parts: int, steps: int) -> None:
        self._parts, self._steps = parts, steps
        self._begun: tuple[float, float] | None = None

    def at(self, index: int, steps: int) -> Progress:
        done, total, now = index * self._steps + steps, self._parts * self._steps, time.monotonic()
        if self._begun is None:
            self._begun = (now, done)
        since, before = self._begun
        rate = (done - before) / (now - since) if now > since else 0.0
        return Progress(done, total, "steps", (total - done) / rate if rate > 0 else None)


@dataclass(frozen=True)
class _Work:
    """The sampling of one part."""

    context: Context
    config: SamplerConfig
    model: LoadedModel
    rows: dict[str, TokenRows]
    executor: Executor
    name: str
    restriction: str | list[str]
    clock: Clock
    index: int
    place: int
    """Which of this worker's parts it is; `index` is its number among all."""
    prefixes: PrefixCache

    def sample(self, emit: Callable[[Event], None]) -> Part:
        """Run the chains from where they are; raises Interrupted when told to stop before their end."""
        begun, manifest = time.monotonic(), self.context.manifest
        problem = sampling_run.problem_of(manifest, self.model, self.rows, self.restriction, self.prefixes)
        path = store_path(self.context, self.name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        reported: set[int] = set()
        share_initial_loss(self.context.checkpoint_path / slug(FULL), self.context.checkpoint_path / slug(self.name))
        done: ChainsResult = run_chains(
            problem,
            self.config,
            chains=range(self.config.num_chains),
            store=sampling_run.create_store(path, manifest, self.config, problem),
            executor=self.executor,
            checkpoint_dir=self.context.checkpoint_path / slug(self.name),
            checkpoint_every=sampling_run.checkpoint_seconds(manifest, problem, self.config),
            poll=lambda: Command(self.context.poll()),
            report=lambda snapshot: self._report(snapshot, reported, emit),
            report_every=sampling_run.REPORT_EVERY,
            warn=lambda message: emit(Warned(f"{self.name}: {message}")),
        )
        if done.interrupted:
            raise Interrupted
        chains = done.snapshot.chains
        failed = {str(c.chain): f"step {c.failed_step}: {c.failed_reason}" for c in chains if not c.healthy}
        rhat = convergence(done.snapshot.rise).rhat
        return Part(self.name, problem.space.numel, len(chains), failed, rhat, time.monotonic() - begun)

    def _report(self, snapshot: ChainsSnapshot, reported: set[int], emit: Callable[[Event], None]) -> None:
        for chain in snapshot.chains:
            if chain.failed_reason is not None and chain.chain not in reported:
                reported.add(chain.chain)
                emit(ChainFailed(chain.chain, chain.failed_step or 0, f"{self.name}: {chain.failed_reason}"))
        emit(self.clock.at(self.place, snapshot.steps_done))
        rises = [rise for rise in snapshot.rises if rise is not None]
        rise = float(np.mean(rises)) if rises else None
        draws = min((c.draws for c in snapshot.chains if c.healthy), default=0)
        now = PartNow(
            restriction=self.name,
            index=self.index,
            draws=draws,
            draws_total=self.config.num_draws,
            llc=None if rise is None else self.config.n_beta * rise,
            tokens_per_second=snapshot.tokens_per_second,
        )
        emit(Metrics("now", self.index * self.config.num_draws + draws, now.as_json()))
