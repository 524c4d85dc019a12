"""The app: which screens there are, and what they share. Screens are imported when first opened, for a quick first paint."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.theme import ThemeProvider

from interp_tui_engine.errors import UserError

from .runs.notifications import Endings, run_command, said
from .runs.queue_look import QueueLook
from .runs.run_index import RunIndex
from .runs.session import Run
from .screens.palette import PaletteScreen, RunProvider
from .terminal import crash_log, host, pictures, themes
from .terminal.theme_watch import ThemeWatch
from .terminal.themed_app import ThemedApp
from .terminal.way_out import leaving
from .text.sanitise import clean
from .widgets.header import HeaderLine

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder, Status

HEADER_EVERY = 1.0
DEVICES_EVERY = 10.0
LOOK_EVERY = 2.0
"""Seconds between looks at runs that may have ended, and at the user's themes."""


class InterpApp(ThemedApp):
    """The workbench over one folder of runs."""

    TITLE = "interp-tui"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMAND_PALETTE_DISPLAY = "^p"
    COMMANDS: ClassVar[set[Any]] = App.COMMANDS | {RunProvider}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="app.back"),
        Binding("question_mark,f1", "help", "Help", id="app.help", key_display="?"),
        Binding("ctrl+t", "change_theme", "Theme", id="app.theme", show=False),
        Binding("y", "copy", "Copy", id="app.copy", show=False),
        Binding("semicolon", "jump", "Jump: a letter on every part that takes keys", id="app.jump", key_display=";", show=False),
        Binding("q,ctrl+q", "quit", "Quit", id="app.quit", show=False),
        Binding("Q", "queue", "Queue: what waits and runs, here and in Slurm", id="app.queue", key_display="Q", show=False),
        Binding("ctrl+z", "suspend_process", "To the shell; fg comes back", id="app.suspend", show=False, priority=True),
    ]

    def __init__(self, runs_root: Path, open_run: Path | None = None, *, once_listed: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.runs_root = runs_root
        self.index = RunIndex(runs_root)
        self.listed: Sequence[Run] = ()
        """The runs as last listed, for the palette and for whoever wants them without waiting for a disk."""
        self.endings = Endings()
        self.queue = QueueLook()
        self._to_open = open_run
        self._once_listed = once_listed
        self._listed_once = False
        self._devices = host.cores()
        self.filters: Sequence[str] = self.config.filters
        """Filters of the Runs screen used before, the newest first."""
        self.named_filters = self.config.named_filters
        self.pictures = pictures.Pictures()
        """How the Figures screen draws pictures, if it does."""
        self._theme_watch = ThemeWatch()

    # -- life

    def get_default_screen(self) -> Screen[None]:
        from .screens.runs import RunsScreen

        return RunsScreen()

    def on_mount(self) -> None:
        self.started = True
        if self.config.keys:
            from .screens import key_ids

            self.set_keymap(key_ids.usable(self.config.keys))
        self.follow_own_files()
        self.app_resume_signal.subscribe(self, lambda app: self.redraw())
        self.set_interval(HEADER_EVERY, self.refresh_header)
        self.set_interval(DEVICES_EVERY, self.look_for_devices)
        self.set_interval(LOOK_EVERY, self.look_around)
        self.look_for_devices()
        if self._to_open is not None:
            self.open_path(self._to_open)

    @work(thread=True, group="devices", exclusive=True)
    def look_for_devices(self) -> None:
        devices = host.devices()
        self._devices = devices  # the next look at the header shows it

    @work(thread=True, group="look", exclusive=True)
    def look_around(self) -> None:
        """See which runs have ended, whether the user has changed a theme, and whether the terminal is still there."""
        if not getattr(self._driver, "terminal_alive", True):
            with contextlib.suppress(RuntimeError):
                self.call_from_thread(self.terminal_lost)
            return
        ended, changed = self.endings.look(), self._theme_watch.changed()
        for folder, status in ended:
            if self.config.command:
                run_command(self.config.command, folder, status)
        if self.is_running and (ended or changed):
            with contextlib.suppress(RuntimeError):  # the loop may close between asking and calling
                self.call_from_thread(self._seen, ended, changed)

    def _seen(self, ended: list[tuple[RunFolder, Status]], themes_changed: bool) -> None:
        for folder, status in ended:
            if getattr(self.screen, "folder", None) == folder:
                continue  # its own screen says it
            title, text = said(status, ascii=self.ascii_mode)
            severity: SeverityLevel = "information" if status.state == "done" else "warning"
            self.notify(text, title=title, severity=severity, markup=False)
        if ended and self.config.bell:
            self.bell()
        if themes_changed:
            self.reload_themes()

    def runs_are_listed(self) -> None:
        """Begin, the first time, what can wait until the user has something to look at; earlier it would take the listing's time."""
        if not self._listed_once:
            self._listed_once = True
            self.preload()
            if self._once_listed is not None:
                self._once_listed()

    @work(thread=True, group="preload")
    def preload(self) -> None:
        """Import what New run and the palette will ask for, while the user looks at the runs."""
        from interp_tui_engine import catalog

        catalog.kinds()
        if not self.config.keys:
            return
        from .screens import key_ids

        for problem in key_ids.problems(self.config.keys, InterpApp):
            if self.is_running:
                with contextlib.suppress(RuntimeError):
                    self.call_from_thread(self.say_of_own_file, clean(problem, limit=300))

    def ask_for_pictures(self, environ: Mapping[str, str]) -> None:
        """See whether the user wants pictures, and the terminal draws them. Before the app runs: afterwards stdin is the driver's."""
        self.pictures = pictures.prepare(self.config.show, over_ssh=self.config.over_ssh, environ=environ)

    def refresh_header(self) -> None:
        """Say what is new in the header of the screen that shows; does nothing on a screen without one."""
        for header in self.screen.query(HeaderLine) if self.screen_stack else ():
            header.facts = (host.name(), self._devices, host.short_path(self.runs_root))
            header.clock = host.clock()

    # -- going places

    def open_path(self, path: Path) -> None:
        from interp_tui_engine.runfolder import RunFolder

        try:
            self.open_run(RunFolder.open(path))
        except UserError as error:
            self.complain(error)

    def open_run(self, folder: RunFolder, *, over: bool = False) -> None:
        """Show a run, in place of the one that shows now if there is one; `over` it, for a run that it leads to."""
        from .screens.run import RunScreen

        if not over:
            self.back_home()
        self.push_screen(RunScreen(folder))

    def new_run(
        self, kind: str | None = None, template: RunFolder | None = None, values: Mapping[tuple[str, ...], str] | None = None
    ) -> None:
        """Open the New run screen: empty, at a kind (some of its fields filled with `values`), or filled from a run."""
        from .screens.new_run import NewRunScreen

        self.back_home()
        self.push_screen(NewRunScreen(kind=kind, template=template, values=values))

    def action_queue(self) -> None:
        """Show the queues, over whatever shows now."""
        from .screens.queue import QueueScreen

        if not any(isinstance(screen, QueueScreen) for screen in self.screen_stack):
            self.push_screen(QueueScreen())

    def back_home(self) -> None:
        """Leave every screen but Runs, so that `esc` is never more than one or two steps from home."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    async def action_back(self) -> None:
        """Whatever back means to the screen that shows. Bound here, so that the footer names it after the screen's own keys."""
        await self.screen.run_action("back")

    def complain(self, error: UserError) -> None:
        """Say what was wrong, and what to do about it."""
        self.notify(clean(error.hint) if error.hint else "", title=clean(error.what), severity="error", markup=False, timeout=8)

    def action_copy(self) -> None:
        """To the terminal's clipboard, which works over SSH (OSC 52) where the terminal allows it."""
        from .screens.base import WorkScreen

        text = self.screen.copied() if isinstance(self.screen, WorkScreen) else ""
        if not text:
            self.notify("There is nothing to copy here.", markup=False)
            return
        self.copy_to_clipboard(text)
        lines = text.splitlines()
        more = f" and {len(lines) - 1} more lines" if len(lines) > 1 else ""
        self.notify(clean(lines[0], limit=200) + more, title="Copied", markup=False)

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, PaletteScreen):
            self.push_screen(PaletteScreen())

    def search_themes(self) -> None:
        self.push_screen(PaletteScreen(providers=[ThemeProvider], placeholder="Search for themes…"))

    def action_jump(self) -> None:
        from .screens.jump import JumpScreen, go, targets

        jump_targets = targets(self.screen)
        if jump_targets:
            self.push_screen(JumpScreen(jump_targets), lambda target: go(target) if target is not None else None)

    def action_help(self) -> None:
        from .screens.help import active_keys, help_text
        from .screens.info import InfoScreen

        states = ("queued", "running", "paused", "stopping", "done", "failed", "interrupted", "crashed")
        legend = [(self.glyph(state), state, themes.colour_name(state)) for state in states]
        title = self.screen.title or type(self.screen).__name__.removesuffix("Screen")
        self.push_screen(InfoScreen(f"Help: {title}", help_text(active_keys(self), legend)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from interp_tui_engine import catalog

        yield SystemCommand("Theme", "Change colours and glyphs", self.action_change_theme)
        yield SystemCommand("Keys", "What every key does here", self.action_help)
        for kind in catalog.kinds():
            yield SystemCommand(f"New run: {kind.name}", kind.question, partial(self.new_run, kind.name))
        yield SystemCommand("Runs", "Back to the list of runs", self.back_home)
        yield SystemCommand("Queue", "What waits and runs, here and in Slurm", self.action_queue)
        yield SystemCommand("Screenshot", "Save this screen as SVG", self.deliver_screenshot)
        yield SystemCommand("Quit", "Leave; runs go on", self.exit)


def run_app(runs_root: Path, open_run: Path | None = None, *, once_listed: Callable[[], None] | None = None) -> int:
    """Run the app until the user leaves it; returns the exit code. Runs that are going on are not touched.

    once_listed: called when the runs are listed for the first time.
    """
    app = InterpApp(runs_root, open_run, once_listed=once_listed)
    app.ask_for_pictures(os.environ)
    with leaving(app):
        result = app.run()
    if app.crash is None:
        return result if isinstance(result, int) else app.return_code or 0
    if crash_log.debugging() and app._exception is not None:
        import traceback

        traceback.print_exception(app._exception)
    what, log = app.crash
    sys.stderr.write(f"interp-tui crashed: {clean(what, limit=300)}; log at {log}\n")
    sys.stderr.write("runs that were going on still are; interp-tui list shows them\n")
    return app.return_code or 1
