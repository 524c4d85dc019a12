"""Home: the runs there are, live, and what can be done to them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from interp_tui.runs import run_rows
from interp_tui.runs.filters import FIELDS, FilterDefinition, Predicate, asks_for_archived, compile_filter, named, names_in, numbers_of
from interp_tui.runs.preview import Preview
from interp_tui.runs.preview import read as read_preview
from interp_tui.runs.session import Run
from interp_tui.terminal import config
from interp_tui.text.numbers import NOT_IN_HEADLINE
from interp_tui.text.sanitise import clean
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.list_table import ListTable, Row

from .run_actions import RunActions

EVERY = 1.0
HINTED = 6
"""Headline numbers that the line for a filter names."""
REST = 10.0
"""How many times as long as a look took nothing is looked at again."""


class RunsScreen(RunActions):
    """A row per run, newest first; the cursor starts on what is running now and then stays on its run."""

    TITLE = "Runs"
    AUTO_FOCUS = "ListTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="runs.filter", key_display="/"),
        Binding("escape", "clear", "Clear the filter or the marks", id="runs.clear", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rows = run_rows.RowCache()
        self._matches: Predicate = compile_filter("")
        self._typed = ""
        self._timer: Timer | None = None
        self._listing = False
        self._rested = 0.0
        self._active = 0
        self._numbers: set[str] | None = None
        self._said: dict[str, tuple[str | Content, Content | None]] = {}

    def body(self) -> ComposeResult:
        with Vertical(id="runs"):
            yield FilterLine("kind = llc & done    name ~ scan    llc > 5    !failed")
            yield ListTable(run_rows.COLUMNS, id="table")
            with Vertical(id="preview"):
                yield Static("", id="preview-text")
            yield Static("", id="empty")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.query_one(ListTable).focus()
        self._timer = self.set_interval(EVERY, self.list_runs)
        self.list_runs(at_once=True)

    def on_screen_suspend(self) -> None:
        if self._timer:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        if self._timer:
            self._timer.resume()
            self.workbench.refresh_header()
            self.list_runs(at_once=True)

    # -- listing

    def list_runs(self, *, at_once: bool = False) -> None:
        """Look at the runs folder in a thread, unless the last look is still going on: a slow disk delays rows, not keys. A look that took
        long is not repeated at once, so that ten thousand runs do not keep a core busy."""
        if not self._listing and (at_once or time.monotonic() >= self._rested):
            self._listing = True
            self._list()

    @work(thread=True, group="list")
    def _list(self) -> None:
        start = time.monotonic()
        try:
            runs = self.workbench.index.refresh(partial(self.tell, self._listed_early))
        except BaseException:
            self._listing = False
            raise
        self._rested = time.monotonic() + REST * (time.monotonic() - start)
        self.tell(self._listed, runs)

    def _listed_early(self, runs: list[Run]) -> None:
        """The newest of many runs, while the others are still looked at."""
        if self.is_attached and self.runs is None:
            self._use_runs(runs)

    def _listed(self, runs: list[Run]) -> None:
        self._listing = False
        if not self.is_attached:
            return
        self._use_runs(runs)
        self.workbench.runs_are_listed()

    def _use_runs(self, runs: list[Run]) -> None:
        first = self.runs is None
        self.runs = {run.key: run for run in runs}
        self._active, self._numbers = sum(run.active for run in runs), None
        self.marked &= self.runs.keys()
        self.workbench.listed = runs
        self.workbench.endings.expect(run.folder for run in runs if run.active)
        self.show_rows()
        if first:
            active = next((run for run in runs if run.active), None)
            if active is not None:
                self.query_one(ListTable).move_to(active.key)
            self.show_preview()

    def show_rows(self) -> None:
        """Draw what is listed and matches the filter."""
        if self.runs is None:
            return
        away = asks_for_archived(self._typed, self.workbench.named_filters)
        shown = [run for run in self.runs.values() if (away or not run.labels.archived) and self._matches(run)]
        table = self.query_one(ListTable)
        table.set_long([run.key for run in shown], partial(self._row, shown), stay=True)
        count = f"{len(shown):,} of {len(self.runs):,}" if len(shown) != len(self.runs) else f"{len(self.runs):,}"
        self._say("#runs", title=(f"Runs {count}" + (f" · {self._active} active" if self._active else "")) if self.runs else "Runs")
        if self.has_class("-empty") != (not self.runs) or not self.has_class("-listed"):
            self.set_class(not self.runs, "-empty")
            self.add_class("-listed")
            if self.runs and self.focused is None:  # a table that was hidden has lost the focus
                self.call_after_refresh(table.focus)
            self.query_one("#empty", Static).update(run_rows.empty(self.workbench.runs_root))
        self.show_preview()

    def _row(self, shown: list[Run], place: int) -> Row:
        run = shown[place]
        return self._rows.row(run, ascii=self.workbench.ascii_mode, marked=run.key in self.marked)

    def _say(self, part: str, *, title: str | Content = "", text: Content | None = None) -> None:
        """Change a title or a text only where it differs: over a slow link a repaint of the same costs as much as news."""
        if self._said.get(part) == (title, text):
            return
        self._said[part] = (title, text)
        self.query_one(part).border_title = title
        if text is not None:
            self.query_one(f"{part}-text", Static).update(text)

    # -- the run under the cursor

    @property
    def current(self) -> Run | None:
        key = self.query_one(ListTable).key
        return self.runs.get(key) if self.runs and key else None

    @on(ListTable.Highlighted)
    def _moved(self) -> None:
        self.show_preview()
        self.refresh_bindings()

    @on(ListTable.Selected)
    def _open(self) -> None:
        if (run := self.current) is not None:
            self.workbench.open_run(run.folder)

    def show_preview(self) -> None:
        """Draw what is known of the current run at once, and read the rest in a thread."""
        run = self.current
        if run is None:
            self._say("#preview", text=Content.styled("No run matches the filter; esc clears it." if self.runs else "", "$muted"))
            return
        stamp = (run.status.state, run.status.updated)
        known = self.previews.get(run.key)
        text = run_rows.preview(run, known[1] if known else None, self.size.width - 4, ascii=self.workbench.ascii_mode)
        self._say("#preview", title=Content(clean(run.status.name, limit=60)), text=text)
        if known is None or known[0] != stamp:
            self._read_preview(run, stamp)

    @work(thread=True, group="preview", exclusive=True)
    def _read_preview(self, run: Run, stamp: tuple[str, float]) -> None:
        try:
            preview = read_preview(run)
        except Exception as fault:  # a log from elsewhere must not cost more than its own preview
            preview = Preview(warning=f"its log cannot be read: {type(fault).__name__}")
        self.tell(self._preview_read, run.key, stamp, preview)

    def _preview_read(self, key: str, stamp: tuple[str, float], preview: Preview) -> None:
        self.previews[key] = (stamp, preview)
        if self.current is not None and self.current.key == key:
            self.show_preview()

    def on_resize(self) -> None:
        if self.runs is not None:
            self.show_preview()

    # -- filter

    @property
    def numbers(self) -> set[str]:
        """The headline numbers that a filter may name; found anew when the runs were."""
        if self._numbers is None:
            self._numbers = numbers_of((self.runs or {}).values())
        return self._numbers

    def action_filter(self) -> None:
        line = self.query_one(FilterLine)
        names = sorted(self.numbers - NOT_IN_HEADLINE - {"uncertainty"})
        kept = ", ".join(f"@{name}" for name in self.workbench.named_filters)
        fields = f"fields: {', '.join([*FIELDS, *names[:HINTED]])}   ↑ filters used before"
        line.hint = f"{fields}\nkept: {kept}" if kept else f"{fields}   @name = … keeps one"
        line.history = self.workbench.filters
        line.start()

    @on(FilterLine.Changed)
    def _filter_changed(self, event: FilterLine.Changed) -> None:
        """While a filter is typed that means nothing yet, or that no run meets, the rows stand as they were."""
        self._typed = event.text
        try:
            matches = self._compiled()
        except ValueError as error:
            self.query_one(FilterLine).say(clean(str(error)))
            return
        if self.runs and not any(map(matches, self.runs.values())):
            self.query_one(FilterLine).say("   ".join(filter(None, ("no run matches", self._about_names()))))
            return
        self._use_filter(matches)

    def _compiled(self) -> Predicate:
        return compile_filter(self._typed, self.numbers, self.workbench.named_filters)

    def _use_filter(self, matches: Predicate) -> None:
        self._matches = matches
        self.query_one(FilterLine).say(self._about_names(), hint=True)
        self.show_rows()

    def _about_names(self) -> str:
        """What ⏎ will do with a filter that is given a name, and what the names in any other stand for."""
        kept = self.workbench.named_filters
        if (definition := named(self._typed)) is None:
            return "   ".join(f"@{name}: {clean(text, limit=80)}" for name, text in kept.items() if name in names_in(self._typed))
        before = clean(kept.get(definition.name, ""), limit=60)
        if not definition.text:
            return f"⏎ forgets @{definition.name}: {before}" if before else "then what it stands for"
        return f"⏎ keeps it as @{definition.name}" + (f", in place of {before}" if before else "")

    @on(FilterLine.Done)
    def _filter_done(self, event: FilterLine.Done) -> None:
        if event.still:
            self.query_one(ListTable).focus()
        self._typed = event.text
        with suppress(ValueError):  # it says at the line what is wrong
            self._use_filter(self._compiled())
            if (definition := named(self._typed)) is not None:
                self.name_filter(definition)
            elif self._typed.strip():
                self.remember(self._typed.strip())

    @work(thread=True, group="filters")
    def remember(self, text: str) -> None:
        """Keep a filter for the next time."""
        self.workbench.filters = config.remember_filter(text)

    @work(thread=True, group="filters")
    def name_filter(self, definition: FilterDefinition) -> None:
        """Keep a filter under its name, or forget the one of that name; the line has the name then, or nothing."""
        kept = config.name_filter(definition.name, definition.text)
        self.tell(self._filter_named, definition, kept)

    def _filter_named(self, definition: FilterDefinition, kept: Mapping[str, str]) -> None:
        self.workbench.named_filters = kept
        line = self.query_one(FilterLine)
        if definition.text:
            line.put(f"@{definition.name}")
        else:
            line.clear()

    def action_clear(self) -> None:
        if self.query_one(FilterLine).display:
            self.query_one(FilterLine).clear()
        elif self.marked:
            self.marked.clear()
            self.show_rows()

    def look_again(self) -> None:
        self.list_runs(at_once=True)
