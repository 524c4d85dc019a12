"""What every screen of the workbench has: the header line, the footer with its keys, and a way back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import get_current_worker

from interp_tui.widgets.header import HeaderLine

if TYPE_CHECKING:
    from interp_tui.app import InterpApp


class WorkScreen(Screen[None]):
    """A full screen. Subclasses yield what lies between header and footer from `body`; `esc`, bound by the app,
    calls `action_back`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        # Textual sets these classes after the first layout; set before it, nothing moves
        self.set_class(self.app.size.width < 110, "-narrow")
        self.set_class(self.app.size.height >= 32, "-tall")
        yield HeaderLine()
        yield from self.body()
        yield Footer(compact=True)

    def body(self) -> ComposeResult:
        yield from ()

    @property
    def workbench(self) -> InterpApp:
        """The app, as what it is."""
        from interp_tui.app import InterpApp

        assert isinstance(self.app, InterpApp)
        return self.app

    def action_back(self) -> None:
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def tell(self, callback: Callable[..., Any], *args: Any) -> None:
        """From a worker's thread: call this on the event loop, unless the work is no longer wanted or the app is on its way out."""
        if not get_current_worker().is_cancelled and self.app.is_running:
            with suppress(RuntimeError):  # the loop may close between asking and calling
                self.app.call_from_thread(callback, *args)
