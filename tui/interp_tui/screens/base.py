"""What every screen of the workbench has: the header line, the footer with its keys, and a way back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

from textual import work
from textual.app import ComposeResult
from textual.screen import Screen
from textual.worker import get_current_worker

from interp_tui.terminal.guard import Guarded
from interp_tui.widgets.header import HeaderLine
from interp_tui.widgets.key_line import KeyLine
from interp_tui_engine.errors import UserError

if TYPE_CHECKING:
    from .workbench import Workbench


class WorkScreen(Guarded, Screen[None]):
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
        yield KeyLine(compact=True)

    def body(self) -> ComposeResult:
        yield from ()

    @property
    def workbench(self) -> Workbench:
        """The app, as what it is."""
        return cast("Workbench", self.app)

    @property
    def in_sight(self) -> bool:
        """Whether it shows, or shines through what lies over it. Textual counts a screen under an opaque one as current, too."""
        above = [*takewhile(lambda screen: screen is not self, reversed(self.app.screen_stack))]
        return len(above) < len(self.app.screen_stack) and all(screen.styles.background.a < 1 for screen in above)

    def action_back(self) -> None:
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def copied(self) -> str:
        """What `y` puts on the clipboard here: of most worth is what stands under the cursor."""
        return ""

    @work(thread=True, group="action")
    def do(self, action: Callable[[], Any], then: Callable[[Any], None] = lambda result: None) -> None:
        """Do something in a thread; then say so, or say what was wrong; then look again."""
        try:
            result = action()
        except UserError as error:
            self.tell(self.workbench.complain, error)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            self.tell(self.workbench.complain, UserError(f"{error.strerror or error}{place}", "nothing more was done"))
        else:
            self.tell(then, result)
        self.tell(self.look_again)

    def look_again(self) -> None:
        """What was done may have changed what shows."""

    def tell(self, callback: Callable[..., Any], *args: Any) -> None:
        """From a worker's thread: call this on the event loop, unless the work is no longer wanted or the app is on its way out."""
        if not get_current_worker().is_cancelled and self.app.is_running:
            with suppress(RuntimeError):  # the loop may close between asking and calling
                self.app.call_from_thread(callback, *args)
