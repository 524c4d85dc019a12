"""An app that goes on after faults of its own, and that has one way out, whatever ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

from ..text.sanitise import clean
from . import crash_log, guard
from .guard import Guarded
from .way_out import LOST

if TYPE_CHECKING:
    from textual.driver import Driver


class SurvivingApp(Guarded, App[int]):
    """Says in a notice what failed, leaves a screen that keeps failing, and ends with an exit code where going on is pointless."""

    forgiving: ClassVar[bool] = not crash_log.debugging()
    """Whether the app goes on after a fault of its own; tests want to see it."""

    def __init__(self) -> None:
        super().__init__()
        self.on_leave: Callable[[], None] = lambda: None
        """Called as soon as the app is on its way out."""
        self.crash: tuple[str, str] | None = None
        """What ended the app, if a fault of its own did, and where its details are."""
        self.started = False
        """Whether the first screen has been mounted; faults before that end the app."""
        self._faults = guard.FaultCount()
        self._giving_up = False

    def get_driver_class(self) -> type[Driver]:
        usual = super().get_driver_class()
        if usual.__name__ != "LinuxDriver":
            return usual
        from .driver import TerminalDriver

        return TerminalDriver

    def survive(self, fault: Exception, pump: MessagePump | None = None, message: Message | None = None) -> bool:
        """Log a fault, report it in a notice and go on; False where going on is pointless."""
        if self._giving_up:
            return False
        leaving = self.started and (self._exit or not self.is_running)
        if guard.taken_down(fault, [] if leaving else self.screen_stack):
            return True
        if not self.forgiving or not (leaving or self.is_running):
            return False
        if leaving:  # what it was for has gone
            guard.described(fault)
            return True
        count = self._faults.add(time.monotonic())
        if count >= guard.FAULTS_AT_MOST:
            self._giving_up = True
            return False
        what, log = guard.described(fault)
        self.notify(clean(f"{what}; details: {log}", limit=400), title="A fault of interp-tui; it goes on", severity="error", markup=False)
        unmade = isinstance(pump, Screen) and isinstance(message, (events.Compose, events.Mount))
        if unmade or count % guard.LEAVE_AFTER == 0:
            self.call_later(self._leave_screen)
        return True

    def _leave_screen(self) -> None:
        """Close the screen that shows; the first one, which cannot be closed, is made anew."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.switch_screen(self.get_default_screen())

    def _handle_exception(self, error: Exception) -> None:
        """Textual's own end of the road: for faults of its widgets, timers and background tasks."""
        pump = guard.stopped_pump(error)
        if pump is not self and self.survive(error, pump):
            if isinstance(pump, Widget):  # nothing reads its messages any more
                self.call_later(self._leave_screen)
            return
        self._giving_up = True
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
            self.crash = guard.described(error)
        self._fatal_error()

    def _fatal_error(self) -> None:
        """Textual would print the traceback with the values of all variables, among them texts of models and data."""
        self.on_leave()
        self._close_messages_no_wait()

    def exit(self, result: int | None = None, return_code: int = 0, message: Any = None) -> None:
        self.on_leave()
        super().exit(result, return_code, message)

    def terminal_lost(self) -> None:
        """There is nothing to draw on any more; runs are their own sessions and go on."""
        self.exit(return_code=LOST)

    def keys_lost(self, fault: Exception) -> None:
        """The terminal cannot be read any more."""
        if isinstance(fault, OSError) or not getattr(self._driver, "terminal_alive", True):
            self.terminal_lost()
        else:
            self._giving_up = True
            self._handle_exception(fault)

    def redraw(self) -> None:
        """Draw every cell, whatever was there before."""
        for screen in self.screen_stack:
            screen.refresh(layout=True)
