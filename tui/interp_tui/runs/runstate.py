"""What a run has said so far, reduced from its events to what a screen shows. Headless: no Textual, no files.

Events may be cut short, malformed, of types this version does not know, or repeated after a resume: `apply` takes whatever comes and never
raises. Memory is bounded however long the run: newest value per series, bucketed traces, the last few hundred notes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from interp_tui_engine.events import ChainFailed, Checkpoint, Event, Metrics, Phase, Progress, RunFinished, RunStarted, Stamped, Warned
from interp_tui_engine.numbers import as_finite
from interp_tui_engine.payload import read
from interp_tui_engine.results.sampling import StepOf, StepParts

from .chain_rows import ChainNow, Failure, chain_rows, count, spread
from .traces import DrawSeries
from .typed_values import P, TypedValues

NOTES = 1000
"""Events kept for the log tab: all but metrics and progress, newest last."""
MAX_CHAINS = 512
"""Chains whose traces are kept; more than anyone can tell apart on a screen."""
MAX_SERIES = 512
MAX_CASES = 10_000


@dataclass(frozen=True)
class Ending:
    """How the run ended, as its last event says."""

    state: str
    seconds: float
    reason: str
    advice: str


class RunState:
    """Grows by `apply`; `version` grows with every event, so that a painter knows whether there is anything new."""

    def __init__(self) -> None:
        self.version = 0
        self.kind = ""
        self.name = ""
        self.device = ""
        self.provenance: dict[str, Any] = {}
        self.resumes = 0
        self.phase = ""
        self.phase_detail = ""
        self.done = 0.0
        self.total = 0.0
        self.unit = ""
        self.eta_seconds: float | None = None
        self.updated = 0.0
        """When the newest event was written, in seconds since the epoch."""
        self.latest: dict[str, Mapping[str, Any]] = {}
        """The newest values of each series."""
        self.series: dict[tuple[str, str], DrawSeries] = {}
        """Scalars of every series but the chains' over its steps, by (series, name)."""
        self.traces: dict[int, DrawSeries] = {}
        """Loss by draw, for each chain."""
        self.failures: dict[int, Failure] = {}
        self.cases: dict[int, Mapping[str, Any]] = {}
        self.cells: dict[int, Mapping[str, Any]] = {}
        """Every batch of cells that a run told of, by its number: what a grid fills from."""
        self.warnings: deque[str] = deque(maxlen=NOTES)
        self.checkpoint: Checkpoint | None = None
        self.ending: Ending | None = None
        self.notes: deque[Stamped] = deque(maxlen=NOTES)
        self.noted = 0
        """How many notes there were in all; the last `len(notes)` of them are kept."""
        self.now: dict[int | None, Mapping[str, Any]] = {}
        """What each worker is at, of those that tell: the newest values of the series of that name."""
        self._chains: dict[int | None, Mapping[str, Any]] = {}
        self._started: set[int | None] = set()
        self._typed = TypedValues()

    def apply(self, stamped: Stamped) -> None:
        """Take in one event."""
        self.version += 1
        if type(stamped.shard) is not int and stamped.shard is not None:
            stamped = replace(stamped, shard=None)
        if stamped.t > self.updated:
            self.updated = stamped.t
        handler = _HANDLERS.get(type(stamped.event))
        if handler is not None:
            handler(self, stamped, stamped.event)
        if not isinstance(stamped.event, (Metrics, Progress)):
            self.notes.append(stamped)
            self.noted += 1

    def apply_all(self, events: Iterable[Stamped]) -> None:
        """Take in many."""
        for stamped in events:
            self.apply(stamped)

    def adopt(self, result: Mapping[str, Any]) -> None:
        """Take over from a finished run's result what was estimated as it went on, so that one number is not shown in two versions."""
        known = self.latest.get("estimate")
        if known is not None:
            final = {name: result[name] for name in known if name in result}
            if any(known[name] != value for name, value in final.items()):
                self.latest["estimate"] = {**known, **final}
                self.version += 1

    def chains(self) -> list[ChainNow]:
        """Every chain heard of, by number."""
        rows: dict[int, ChainNow] = {}
        for values in self._chains.values():
            for row in chain_rows(values):
                rows[row.chain] = row
        for chain, failure in self.failures.items():
            row = rows.get(chain, ChainNow(chain))
            rows[chain] = ChainNow(chain, row.step, row.steps_total, row.draws, row.draws_total, failure=failure)
        return [rows[chain] for chain in sorted(rows)]

    def fewest_draws(self) -> int:
        """Draws of the healthy chain that has the fewest."""
        return min((trace.last + 1 for chain, trace in self.traces.items() if chain not in self.failures), default=0)

    def step_parts(self) -> dict[int, StepParts]:
        """What moved each chain at its newest step, by the chain's number, as the workers told."""
        parts: dict[int, StepParts] = {}
        for values in self._chains.values():
            newest = read(StepOf, values)
            parts |= {chain: part for chain, part in zip(newest.chains, newest.parts, strict=False) if part is not None}
        return dict(sorted(parts.items()))

    def cases_of(self, cls: type[P]) -> dict[int, P]:
        """The payloads of the series `case`, by step and in its order."""
        return self._typed.by_step(cls, "case", self.cases)

    def cells_of(self, cls: type[P]) -> dict[int, P]:
        """The payloads of the series `cells`, by step and in its order."""
        return self._typed.by_step(cls, "cells", self.cells)

    def newest(self, series: str, cls: type[P]) -> P:
        """The newest payload of a series; one without numbers where there is none."""
        return self._typed.newest(cls, series, self.latest.get(series))

    def value(self, series: str, name: str) -> float | None:
        """The newest value of a scalar, if it is a finite number."""
        return as_finite(self.latest.get(series, {}).get(name))

    @property
    def burnin(self) -> int:
        """Draws that are burn-in. Steps before the first draw have no draw of their own, so this is 0 unless the run says otherwise."""
        return max((count(values.get("burnin")) for values in self._chains.values()), default=0)

    @property
    def draws_total(self) -> int:
        return max((count(values.get("draws_total")) for values in self._chains.values()), default=0)

    def _on_started(self, stamped: Stamped, event: RunStarted) -> None:
        self.kind, self.name = str(event.kind), str(event.name)
        self.device = str(event.device or self.device)
        if isinstance(event.provenance, Mapping):
            self.provenance |= event.provenance
        if stamped.shard in self._started:
            self.resumes += 1
            if not event.resumed:  # from the beginning again: what failed then may not fail now
                self.failures.clear()
        self._started.add(stamped.shard)
        self.ending = None

    def _on_phase(self, stamped: Stamped, event: Phase) -> None:
        self.phase, self.phase_detail = str(event.name), str(event.detail)

    def _on_progress(self, stamped: Stamped, event: Progress) -> None:
        self.done, self.total = as_finite(event.done) or 0.0, as_finite(event.total) or 0.0
        self.unit, self.eta_seconds = str(event.unit), as_finite(event.eta_seconds)

    def _on_metrics(self, stamped: Stamped, event: Metrics) -> None:
        values = event.values
        if not isinstance(values, Mapping) or not isinstance(event.series, str):
            return
        if event.series == "chains":
            self._chains[stamped.shard] = values
            self._extend_traces(values)
        elif event.series == "now":
            if stamped.shard in self.now or len(self.now) < MAX_SERIES:
                self.now[stamped.shard] = values
        elif event.series == "cells":
            if isinstance(event.step, int) and (event.step in self.cells or len(self.cells) < MAX_CASES):
                self.cells[event.step] = values
        elif event.series == "case":
            if isinstance(event.step, int) and (event.step in self.cases or len(self.cases) < MAX_CASES):
                self.cases[event.step] = values
        elif isinstance(event.step, int):
            for name, value in values.items():
                if (number := as_finite(value)) is not None:
                    trace = self.series.get((event.series, name))
                    if trace is None:
                        if len(self.series) >= MAX_SERIES:
                            continue
                        trace = self.series[event.series, name] = DrawSeries()
                    trace.add(event.step, number)
        if event.series in self.latest or len(self.latest) < MAX_SERIES:
            self.latest[event.series] = values

    def _extend_traces(self, values: Mapping[str, Any]) -> None:
        chains, news = values.get("chains"), values.get("trace")
        if not isinstance(chains, list) or not isinstance(news, list):
            return
        for chain, points in zip(chains, news, strict=False):
            if type(chain) is not int or not isinstance(points, list):
                continue
            trace = self.traces.get(chain)
            if trace is None:
                if len(self.traces) >= MAX_CHAINS:
                    continue
                trace = self.traces[chain] = DrawSeries()
            if (
                len(points) == 1
                and type(point := points[0]) is list
                and len(point) == 2
                and type(point[0]) is int
                and type(point[1]) is float
            ):
                trace.add(point[0], point[1])  # what nearly every event of a long run holds, and most of the time it takes to open one
                continue
            # a resumed run tells again what came before in a few means of many draws: the draws themselves are here, and equal
            known = trace.last if len(points) > 1 and spread(points) >= len(points) else -1
            for point in points:
                if known >= 0 and isinstance(point, list) and point and type(point[0]) is int and point[0] <= known:
                    continue
                if isinstance(point, list) and len(point) == 2 and type(point[0]) is int and type(point[1]) is float:
                    trace.add(point[0], point[1])
                elif isinstance(point, list) and len(point) == 2 and type(point[0]) is int and (value := as_finite(point[1])) is not None:
                    trace.add(point[0], value)

    def _on_failed(self, stamped: Stamped, event: ChainFailed) -> None:
        chain = event.chain if isinstance(event.chain, int) else -1
        if chain in self.failures or len(self.failures) < MAX_CHAINS:
            self.failures[chain] = Failure(chain, count(event.step), str(event.cause))

    def _on_warning(self, stamped: Stamped, event: Warned) -> None:
        self.warnings.append(str(event.message))

    def _on_checkpoint(self, stamped: Stamped, event: Checkpoint) -> None:
        self.checkpoint = event

    def _on_finished(self, stamped: Stamped, event: RunFinished) -> None:
        self.ending = Ending(str(event.state), as_finite(event.seconds) or 0.0, str(event.reason), str(event.advice))
        self.eta_seconds = None
        if isinstance(event.headline, Mapping) and event.headline:
            self.latest["headline"] = event.headline


_HANDLERS: dict[type[Event], Callable[[RunState, Stamped, Any], None]] = {
    RunStarted: RunState._on_started,
    Phase: RunState._on_phase,
    Progress: RunState._on_progress,
    Metrics: RunState._on_metrics,
    ChainFailed: RunState._on_failed,
    Warned: RunState._on_warning,
    Checkpoint: RunState._on_checkpoint,
    RunFinished: RunState._on_finished,
}
