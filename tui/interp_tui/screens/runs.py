"""Home: the runs there are, live, and what can be done to them."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from interp_tui.export.beside import export
from interp_tui.runs import run_rows, session
from interp_tui.runs.filters import Predicate, compile_filter, numbers_of
from interp_tui.runs.preview import Preview
from interp_tui.runs.preview import read as read_preview
from interp_tui.runs.session import Run
from interp_tui.terminal import host
from interp_tui.text.sanitise import clean
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.runfolder import RunFolder

from .base import WorkScreen
from .confirm import ConfirmScreen

EVERY = 1.0
REST = 10.0
"""How many times as long as a look took nothing is looked at again."""
ACTIVE_ONLY = {"stop", "pause"}
ON_A_RUN = {"stop", "pause", "resume", "replay", "compare", "delete", "export", "template"}


class RunsScreen(WorkScreen):
    """A row per run, newest first; the cursor starts on what is running now and then stays on its run."""

    TITLE = "Runs"
    AUTO_FOCUS = "ListTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="runs.new"),
        Binding("r", "resume", "Resume", id="runs.resume"),
        Binding("R", "replay", "Replay", id="runs.replay", key_display="R"),
        Binding("c", "compare", "Compare", id="runs.compare"),
        Binding("p", "pause", "Pause, or go on", id="runs.pause", show=False),
        Binding("x", "stop", "Stop", id="runs.stop"),
        Binding("slash", "filter", "Filter", id="runs.filter", key_display="/"),
        Binding("e", "export", "Export", id="runs.export", show=False),
        Binding("t", "template", "Template", id="runs.template", show=False),
        Binding("d", "delete", "Delete", id="runs.delete", show=False),
        Binding("escape", "clear", "Clear the filter or the mark", id="runs.clear", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Run] | None = None
        self.marked: str | None = None
        self._rows = run_rows.RowCache()
        self.previews: dict[str, tuple[tuple[str, float], Preview]] = {}
        self._matches: Predicate = compile_filter("")
        self._typed = ""
        self._timer: Timer | None = None
        self._listing = False
        self._rested = 0.0
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
            runs = self.workbench.index.refresh()
        except BaseException:
            self._listing = False
            raise
        self._rested = time.monotonic() + REST * (time.monotonic() - start)
        self.tell(self._listed, runs)

    def _listed(self, runs: list[Run]) -> None:
        self._listing = False
        if not self.is_attached:
            return
        first = self.runs is None
        self.runs = {run.key: run for run in runs}
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
        shown = [run for run in self.runs.values() if self._matches(run)]
        table = self.query_one(ListTable)
        table.set_rows(self._rows.rows(shown, ascii=self.workbench.ascii_mode, marked=self.marked))
        active = sum(run.active for run in self.runs.values())
        count = f"{len(shown)} of {len(self.runs)}" if len(shown) != len(self.runs) else f"{len(self.runs)}"
        self._say("#runs", title=(f"Runs {count}" + (f" · {active} active" if active else "")) if self.runs else "Runs")
        if self.has_class("-empty") != (not self.runs) or not self.has_class("-listed"):
            self.set_class(not self.runs, "-empty")
            self.add_class("-listed")
            if self.runs and self.focused is None:  # a table that was hidden has lost the focus
                self.call_after_refresh(table.focus)
            self.query_one("#empty", Static).update(run_rows.empty(self.workbench.runs_root))
        self.show_preview()

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
            found = read_preview(run)
        except Exception as fault:  # a log from elsewhere must not cost more than its own preview
            found = Preview(warning=f"its log cannot be read: {type(fault).__name__}")
        self.tell(self._preview_read, run.key, stamp, found)

    def _preview_read(self, key: str, stamp: tuple[str, float], found: Preview) -> None:
        self.previews[key] = (stamp, found)
        if self.current is not None and self.current.key == key:
            self.show_preview()

    def on_resize(self) -> None:
        if self.runs is not None:
            self.show_preview()

    # -- filter

    def action_filter(self) -> None:
        self.query_one(FilterLine).start()

    @on(FilterLine.Changed)
    def _filter_changed(self, event: FilterLine.Changed) -> None:
        """While a filter is typed that means nothing yet, or that no run meets, the rows stand as they were."""
        self._typed = event.text
        runs = list((self.runs or {}).values())
        try:
            matches = compile_filter(event.text, numbers_of(runs))
        except ValueError as error:
            self.query_one(FilterLine).say(clean(str(error)))
            return
        if runs and not any(map(matches, runs)):
            self.query_one(FilterLine).say("no run matches")
            return
        self._use_filter(matches)

    def _use_filter(self, matches: Predicate) -> None:
        self._matches = matches
        self.query_one(FilterLine).say("")
        self.show_rows()

    @on(FilterLine.Done)
    def _filter_done(self) -> None:
        self.query_one(ListTable).focus()
        with suppress(ValueError):  # it says at the line what is wrong
            self._use_filter(compile_filter(self._typed, numbers_of((self.runs or {}).values())))

    def action_clear(self) -> None:
        if self.query_one(FilterLine).display:
            self.query_one(FilterLine).clear()
        elif self.marked:
            self.marked = None
            self.show_rows()

    # -- actions

    def copied(self) -> str:
        return str(self.current.folder.path) if self.current is not None else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that do nothing to the current run are greyed rather than gone, so that the footer stands still."""
        if action not in ON_A_RUN:
            return True
        run = self.current if self.is_mounted else None
        if run is None or (action in ACTIVE_ONLY and not run.active) or (action == "resume" and not run.resumable):
            return None
        return None if action == "delete" and run.active else True

    def action_new(self) -> None:
        self.workbench.new_run()

    def action_template(self) -> None:
        if (run := self.current) is not None:
            self.workbench.new_run(template=run.folder)

    def action_resume(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(session.resume, run.folder), lambda folder: self.notify(clean(run.status.name), title="Goes on", markup=False))

    def action_replay(self) -> None:
        if (run := self.current) is None:
            return
        took = host.duration(max(0.0, run.status.updated - run.started)) if run.status.state == "done" else ""
        details = (
            clean(f"{run.status.kind} {run.status.name}", limit=70),
            "The same manifest runs again, as a new run" + (f"; this one took {took}." if took else "."),
        )
        self.app.push_screen(ConfirmScreen("Run this again?", details, "run again", "leave it"), partial(self._replay_answered, run))

    def _replay_answered(self, run: Run, yes: bool | None) -> None:
        if yes:
            self.do(partial(session.replay, run.folder, self.workbench.runs_root), lambda folder: self._started(folder))

    def _started(self, folder: RunFolder) -> None:
        self.notify(clean(folder.path.name), title="Started", markup=False)

    def action_pause(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(session.send, run.folder, "resume" if run.status.state == "paused" else "pause"))

    def action_stop(self) -> None:
        if (run := self.current) is not None:
            said = clean(run.status.name)
            self.do(
                partial(session.send, run.folder, "stop"),
                lambda _: self.notify(said, title="Stops at its next step, with a checkpoint", markup=False),
            )

    def action_export(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(export, run.folder), self._exported)

    def _exported(self, paths: Any) -> None:
        self.notify("\n".join(host.short_path(path) for path in paths), title="Exported", markup=False)

    def action_compare(self) -> None:
        """The first press marks a run, the second opens it beside the one under the cursor."""
        run = self.current
        if run is None or self.runs is None:
            return
        marked = self.runs.get(self.marked) if self.marked else None
        self.marked = None if self.marked else run.key
        self.show_rows()
        if marked is not None and marked.key != run.key:
            from .compare import CompareScreen

            self.app.push_screen(CompareScreen(marked.folder, run.folder))

    def action_delete(self) -> None:
        if (run := self.current) is None:
            return
        details = (
            clean(f"{run.status.kind} {run.status.name}, {run.status.state}"),
            host.short_path(run.folder.path),
            "Its folder is removed with everything in it.",
        )
        self.app.push_screen(ConfirmScreen("Delete this run?", details, "delete"), partial(self._delete_answered, run))

    def _delete_answered(self, run: Run, yes: bool | None) -> None:
        if yes:
            self.do(partial(session.delete, run.folder), lambda _: self.notify(clean(run.status.name), title="Deleted", markup=False))

    def look_again(self) -> None:
        self.list_runs(at_once=True)
