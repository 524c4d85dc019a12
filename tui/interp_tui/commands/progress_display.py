"""Watching a run without the app: a Rich display on a terminal, plain lines in a pipe, or one event a line as JSON.

All three take the events of a run one by one and show the same: phase, progress, ETA, headline with its error, failed chains, warnings.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from interp_tui_engine import events
from interp_tui_engine.events import ChainFailed, Phase, Progress, RunFinished, Stamped, Warned
from interp_tui_engine.runfolder import ACTIVE, EventTail, RunFolder, Status

from ..runs.headlines import answer
from ..runs.runstate import RunState
from ..terminal import host
from ..terminal.job_control import around_stops
from ..terminal.themes import GLYPHS
from ..text.sanitise import clean

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY = 3.0
"""Seconds between two plain lines of progress."""
REPAINTS = 2
"""A second, of the display on a terminal."""
POLL = 0.2


class Display(Protocol):
    """What shows a run while it goes on."""

    def listen(self, stamped: Stamped) -> None:
        """Take in one event."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def choose(folder: RunFolder, *, as_json: bool, plain: bool) -> Display:
    """The display that fits: JSON if asked for, plain lines if asked for or in a pipe, else Rich."""
    if as_json:
        return JsonLines()
    if plain or not sys.stdout.isatty():
        return PlainLines()
    return RichDisplay(folder)


def careful(display: Display) -> Callable[[Stamped], None]:
    """What tells the display of each event, and lets the run go on if nobody can be shown it any more: a lost terminal, a closed pipe."""

    def listen(stamped: Stamped) -> None:
        try:
            display.listen(stamped)
        except OSError:
            silence()

    return listen


def silence() -> None:
    """From here on, what is written to stdout goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class JsonLines:
    """Every event as the line that stands in events.jsonl."""

    def listen(self, stamped: Stamped) -> None:
        sys.stdout.write(events.to_line(stamped) + "\n")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


class PlainLines:
    """What matters at once, progress every few seconds."""

    def __init__(self, every: float = PLAIN_EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = RunState()
        self._every = every
        self._clock = clock
        self._next = clock()
        self._last = ""

    def listen(self, stamped: Stamped) -> None:
        self.state.apply(stamped)
        if isinstance(stamped.event, Progress):
            if self._clock() >= self._next:
                self._next = self._clock() + self._every
                self._write(progress_line(self.state))
        elif text := note(stamped, self.state.kind):
            self._write(text)

    def _write(self, line: str) -> None:
        if line and line != self._last:
            self._last = line
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.state.total and self.state.ending is None:
            self._write(progress_line(self.state))


class RichDisplay:
    """A few lines at the bottom of the terminal that are painted over; what matters stands above them."""

    def __init__(self, folder: RunFolder, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.state = RunState()
        self._folder = folder
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=REPAINTS, redirect_stdout=False)

    def listen(self, stamped: Stamped) -> None:
        with self._lock:
            self.state.apply(stamped)
        if isinstance(stamped.event, (Warned, ChainFailed)):
            from rich.text import Text

            self._live.console.print(Text(note(stamped, self.state.kind), style="yellow"))

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            state = self.state
            lines: list[RenderableType] = [Text(title(state, self._folder.status()), style="bold", no_wrap=True, overflow="ellipsis")]
            if state.total and state.ending is None:
                bar = Table.grid(padding=(0, 1), expand=True)
                bar.add_column(ratio=1)
                bar.add_column(no_wrap=True)
                bar.add_row(ProgressBar(total=state.total, completed=min(state.done, state.total)), Text(counts(state)))
                lines.append(bar)
            elif state.phase and state.ending is None:
                lines.append(Text(f"{clean(state.phase)} …", style="dim"))
            if numbers := findings(state):
                lines.append(Text(numbers))
            return Group(*lines)

    def __enter__(self) -> Self:
        self._open.enter_context(around_stops(lambda: self._show_cursor(True), lambda: self._show_cursor(False)))
        self._open.enter_context(self._live)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.__exit__(kind, error, trace)

    def _show_cursor(self, shown: bool) -> None:
        with suppress(OSError):
            self._console.show_cursor(shown)


def title(state: RunState, status: Status) -> str:
    """State, kind, name, model and device, and the phase the run is in."""
    parts = [state.kind or status.kind, state.name or status.name, status.model, state.device or status.device]
    glyph = GLYPHS.get(status.state, "")
    phase = f"   {state.phase}" if state.phase and state.ending is None else ""
    return clean(f"{glyph} {' · '.join(part for part in parts if part)}{phase}")


def counts(state: RunState) -> str:
    """`draw 142/200  71 %  ETA 1 m 12 s`."""
    share = min(1.0, state.done / state.total) if state.total > 0 else 0.0
    eta = f"  ETA {host.duration(state.eta_seconds)}" if state.eta_seconds and share < 1 else ""
    return clean(f"{state.unit} {state.done:,.0f}/{state.total:,.0f}  {share:.0%}".replace("%", " %") + eta)


def findings(state: RunState) -> str:
    """The headline with its error, and how many chains have failed."""
    parts = [answer(state.kind, state.latest.get("headline", {}))]
    if state.failures:
        parts.append("1 chain failed" if len(state.failures) == 1 else f"{len(state.failures)} chains failed")
    return clean("  ".join(part for part in parts if part))


def progress_line(state: RunState) -> str:
    """Everything the display on a terminal shows, on one line."""
    return "  ".join(part for part in (counts(state), findings(state)) if part)


def note(stamped: Stamped, kind: str) -> str:
    """What a plain display says about an event of a run of `kind` at once; empty for events that only move numbers."""
    event = stamped.event
    if isinstance(event, Phase):
        return clean(f"{event.name}{f': {event.detail}' if event.detail else ''}")
    if isinstance(event, Warned):
        return clean(f"warning: {event.message}")
    if isinstance(event, ChainFailed):
        return clean(f"chain {event.chain} failed at step {event.step}: {event.cause}; it is left out of every estimate")
    if isinstance(event, RunFinished):
        reason = f": {event.reason}" if event.reason else ""
        return clean(f"{event.state} in {host.duration(event.seconds)}{reason}  {answer(kind, event.headline)}".rstrip())
    return ""


def all_events(folder: RunFolder) -> Iterator[Stamped]:
    """Every event in the run's log so far."""
    tail = EventTail(folder.events_path)
    while True:
        before = tail.offset
        yield from tail.read(seconds=60)
        if tail.offset == before:
            return


def replayed(folder: RunFolder) -> RunState:
    """The state that the run's events lead to."""
    state = RunState()
    state.apply_all(all_events(folder))
    return state


def follow(folder: RunFolder, display: Display) -> Status:
    """Show a run that another process supervises until it ends; returns its last status."""
    tail = EventTail(folder.events_path)
    with display:
        while True:
            status = folder.status()
            before = -1
            while tail.offset != before:
                before = tail.offset
                for stamped in tail.read():
                    display.listen(stamped)
            if status.state not in ACTIVE:
                return status
            time.sleep(POLL)
