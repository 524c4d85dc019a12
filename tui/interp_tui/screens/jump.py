"""Jump mode: a letter on everything that can take the keys; typing it goes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label, TabbedContent
from textual.widgets._tabbed_content import ContentTab

from interp_tui.terminal.guard import Guarded

LETTERS = "asdfghjklqwertyuiopzxcvbnm"
LABEL_WIDTH = 3


@dataclass(frozen=True)
class JumpTarget:
    """Something to go to: a part of the screen that takes keys, or a tab."""

    letter: str
    widget: Widget


def targets(screen: Screen[object]) -> list[JumpTarget]:
    """What is in sight and can be gone to, from the top down; as many as there are letters."""
    tabs: list[Widget] = [tab for tab in screen.query(ContentTab) if not tab.has_class("-active")]
    parts = [widget for widget in screen.focus_chain if widget.region.area and widget is not screen.focused]
    seen = sorted((widget for widget in (*tabs, *parts) if widget.region.area), key=lambda widget: (widget.region.y, widget.region.x))
    return [JumpTarget(letter, widget) for letter, widget in zip(LETTERS, seen, strict=False)]


def go(target: JumpTarget) -> None:
    """Give the keys to the target, or open the tab."""
    if isinstance(target.widget, ContentTab):
        target.widget.screen.query_one(TabbedContent).active = ContentTab.sans_prefix(target.widget.id or "")
    else:
        target.widget.focus()


class JumpScreen(Guarded, ModalScreen[JumpTarget | None]):
    """Shows the letters over the screen below; any other key closes it."""

    CSS = """
    JumpScreen { background: $background 40%; align: left top; layers: letters; }
    JumpScreen Label { position: absolute; width: 3; height: 1; background: $accent; color: $background; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close", id="jump.close")]

    def __init__(self, targets: Sequence[JumpTarget]) -> None:
        super().__init__()
        self.found = targets

    def compose(self) -> ComposeResult:
        taken: set[tuple[int, int]] = set()
        for target in self.found:
            x, y = target.widget.region.x, target.widget.region.y
            while (x, y) in taken:
                x += LABEL_WIDTH
            taken |= {(x + by, y) for by in range(LABEL_WIDTH)}
            label = Label(f" {target.letter} ", markup=False)
            label.absolute_offset = None
            label.styles.offset = (x, y)
            yield label

    async def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.dismiss(next((target for target in self.found if target.letter == event.character), None))
