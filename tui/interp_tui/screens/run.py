"""One run: its status over four tabs, followed as it goes on, and the keys that steer it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.widgets import TabbedContent, TabPane, Tabs

from interp_tui.runs.follow import RunUpdate
from interp_tui.runs.result_texts import waiting_for
from interp_tui.terminal import crash_log, guard, host
from interp_tui.terminal.repaint_throttle import Pace, backlog_of
from interp_tui.text.sanitise import clean
from interp_tui.views import view_for
from interp_tui.views.base import RunView
from interp_tui.views.generic import GenericView
from interp_tui.views.sampling import SamplingView
from interp_tui.widgets.panes import LogPane, ResultPane, TomlPane
from interp_tui.widgets.status_strip import StatusStrip
from interp_tui_engine.runfolder import ACTIVE, RunFolder

from .info import InfoScreen
from .run_history import Cursor, RunHistory, cursor_of, put_cursor

TICK = 0.2
"""Seconds between looks at the folder while nothing is behind."""
PLOTS_EVERY = 0.5
TABLES_EVERY = 1.0
FAILURES_AT_MOST = 1
"""Looks in a row that may fail before the screen gives up."""


class RunScreen(RunHistory):
    """Follows a run folder; closing it changes nothing about the run."""

    TITLE = "Run"
    CSS = """
    RunScreen TabbedContent { height: 1fr; }
    RunScreen TabPane { padding: 0; }
    RunScreen.-catching-up RunView { opacity: 45%; }
    RunScreen ContentTabs { height: 1; }
    RunScreen ContentTabs Underline { display: none; }
    RunScreen ContentTabs #tabs-list { height: 1; }
    RunScreen ContentTab { height: 1; padding: 0 2; color: $muted; }
    RunScreen ContentTab.-active { color: $accent; text-style: bold; background: $block-cursor-blurred-background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "freeze", "Freeze", id="run.freeze"),
    ]

    forgiving: ClassVar[bool] = not crash_log.debugging()
    """Whether a view that fails gives way to the plain one; tests want to hear of it."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self._plots, self._tables = Pace(PLOTS_EVERY), Pace(TABLES_EVERY)
        self._dirty = True
        self._gone = False
        self._wake, self._settled = asyncio.Event(), asyncio.Event()
        self._over = False
        """Whether nothing follows the run any more: the screen has gone, or drawing it failed."""

    def body(self) -> ComposeResult:
        yield StatusStrip()
        with TabbedContent(initial="live"):
            yield TabPane("Live", id="live")
            with TabPane("Result", id="result"):
                yield ResultPane()
            with TabPane("Manifest", id="manifest"):
                yield TomlPane()
            with TabPane("Log", id="log"):
                yield LogPane()

    def on_mount(self) -> None:
        # arrows belong to the view's cursor; tab and the mouse change tabs
        self.query_one(Tabs).can_focus = False
        self.app.theme_changed_signal.subscribe(self, lambda _: self._touch())
        self.run_worker(self._follow(), group="follow", exclusive=True)

    # -- following

    async def _follow(self) -> None:
        """Read in a thread, show, sleep until the next tick or a key; so state is never looked at while it changes."""
        failures = 0
        try:
            while self.is_attached and self.app.is_running:
                try:
                    await self._look()
                    failures = 0
                except NoMatches:
                    if not self.is_attached or not self.app.is_running:  # taken down while something was read or drawn
                        return
                    raise
                except Exception as fault:  # one run that cannot be read or shown costs its screen, not the app
                    failures += 1
                    if failures > FAILURES_AT_MOST or not self.workbench.survive(fault):
                        raise
                    await asyncio.sleep(TICK)
        finally:
            self._over = True
            self._settled.set()

    async def _look(self) -> None:
        self._wake.clear()
        reading = await asyncio.to_thread(self.follower.read)
        await self._show(reading)
        if reading.more:
            return
        if not self._dirty and not self._wake.is_set():
            self._settled.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), TICK)

    def _touch(self) -> None:
        """Draw everything again soon."""
        self._dirty = True
        if not self._over:  # nobody would set it again
            self._settled.clear()
        self._wake.set()

    def look_again(self) -> None:
        self._touch()

    async def settle(self) -> None:
        """Return once all that stands in the folder has been read and, where the screen is in sight, drawn."""
        self._touch()
        await self._settled.wait()

    @on(RunView.Open)
    def _open_other(self, event: RunView.Open) -> None:
        self.workbench.open_run(event.folder, over=True)

    @on(RunView.Told)
    def _tell(self, event: RunView.Told) -> None:
        self.app.push_screen(InfoScreen(event.title, event.text))

    @on(RunView.LookChanged)
    def _look_changed(self) -> None:
        self._touch()

    def on_resize(self) -> None:
        self._touch()

    def on_screen_resume(self) -> None:
        self.workbench.refresh_header()
        self._touch()

    async def _show(self, reading: RunUpdate) -> None:
        changed = reading.gone != self._gone or (not reading.gone and reading.status.state != self.status.state)
        self._gone = reading.gone
        if not reading.gone or not self.status.kind:
            self.status = reading.status
        cursor = await self._view_for_what_shows()
        if (changed and not self._gone) or self._documents is None:
            self._documents = await asyncio.to_thread(self.follower.documents)
            self.workbench.endings.expect([self.folder])
        result = self._documents.result
        if result is not None and reading.caught_up >= 1 and self.status.state == "done":
            self.follower.state.adopt(result)
        if changed:
            self.refresh_bindings()
        self._caught_up = reading.caught_up
        self.set_class(reading.caught_up < 1, "-catching-up")
        if not self.in_sight:
            self._settled.set()  # nobody sees it: it is drawn when it comes back
            return
        force, self._dirty = self._dirty or changed, False
        now, backlog = time.monotonic(), backlog_of(self.app._driver)
        plots, tables = (pace.due(now, backlog=backlog) or force for pace in (self._plots, self._tables))
        state = self.moment.state if self.moment is not None else self.follower.state
        assert self._view is not None
        try:
            if (plots or tables) and self.frozen_at is None and (force or state.version != self._taken):
                self._taken = state.version
                self._view.take(state, waiting_for(state, self.status_then()))
                await self._view.draw_plots()
                if cursor is not None:
                    put_cursor(self._view, cursor)
                await self._show_texts()
            elif force:
                await self._view.draw_plots()
            if tables or force:
                self._view.draw_tables()
        except NoMatches as fault:
            if guard.taken_down(fault, self.app.screen_stack):
                raise
            await self._show_plainly(fault)  # the view failed while its parts were made
        except Exception as fault:  # a damaged result, or one from a newer version, must not take the app down
            await self._show_plainly(fault)
        if tables or force:
            self._show_log()
            self._show_strip(state, gone=reading.gone, now=self.moment.when if self.moment is not None else host.now())

    async def _view_for_what_shows(self) -> Cursor | None:
        """Make the view, if there is none or if it has gathered what came later than what is to be shown; the old one's cursors then."""
        cursor = None
        if self._view is not None and self._outdated:
            cursor = cursor_of(self._view)
            await guard.unbroken(self._view.remove())
            self._view = None
        self._outdated = False
        if self._view is None:
            self._view = await self._make_view()
        return cursor

    async def _make_view(self) -> RunView:
        try:
            return await self._mounted(view_for(self.status.kind)())
        except Exception as fault:
            if not self.forgiving:
                raise
            self._say_plainly(fault)
            return await self._mounted(GenericView())

    async def _show_plainly(self, fault: Exception) -> None:
        """Put the view of all numbers in the place of one that cannot draw this run."""
        if not self.forgiving or isinstance(self._view, GenericView) or self._view is None:
            raise fault
        self._say_plainly(fault)
        await guard.unbroken(self._view.remove())
        self._view = await self._mounted(GenericView())
        self._taken = -1
        self._touch()

    def _say_plainly(self, fault: Exception) -> None:
        what, log = guard.described(fault)
        title = "This run cannot be drawn as its kind is"
        self.notify(clean(f"{what}; details: {log}", limit=400), title=title, severity="error", markup=False, timeout=10)

    async def _mounted(self, view: RunView) -> RunView:
        view.folder = self.folder
        await self.query_one("#live", TabPane).mount(view)
        if self.query_one(TabbedContent).active == "live":
            view.focus()
        return view

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only keys that do something to the run as it stands are offered."""
        if self._gone and action in {"pause", "stop", "kill", "checkpoint", "resume", "export", "template"}:
            return False
        if action in {"pause", "stop", "kill", "checkpoint"}:
            return self.status.state in ACTIVE
        if action == "resume":
            return self.status.resumable and self.status.state != "queued"
        if action == "export":
            return self._documents is not None and self._documents.result is not None
        if action == "token":
            return self._view is not None and self.query_one(TabbedContent).active == "live"
        return not (action == "overlay" and not isinstance(self._view, SamplingView))

    def action_freeze(self) -> None:
        self.frozen_at = self.follower.state.version if self.frozen_at is None else None
        self._touch()
