"""Every key that works where `?` was pressed, read from the bindings themselves, so that it cannot be out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

if TYPE_CHECKING:
    from textual.app import App

NOT_WORTH_A_LINE = {"Scroll Left", "Scroll Right", "Page Left", "Page Right", "Copy selected text", "Maximize", "Minimize"}
MOVING = {"Focus Next": "Next part", "Focus Previous": "Previous part", "palette": "Command palette"}

Keys = list[tuple[str, list[tuple[str, str, str]]]]


def active_keys(app: App[Any]) -> Keys:
    """(where, [(keys, what, id)]) for the focused widget, the screen and the app, the nearest first; a key bound twice counts once."""
    screen = app.screen
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for key, active in screen.active_bindings.items():
        binding = active.binding
        if not binding.description or binding.description in NOT_WORTH_A_LINE:
            continue
        where = "Everywhere" if binding.description in MOVING else _where(active.node, screen, app)
        what = MOVING.get(binding.description, binding.description)
        groups.setdefault(where, {}).setdefault((what, binding.id or ""), []).append(
            binding.key_display or app.get_key_display(binding) or key
        )
    order = ["This screen", "The focused part", "Everywhere"]
    return [
        (where, [(" ".join(dict.fromkeys(keys)), what, id_) for (what, id_), keys in groups[where].items()])
        for where in order
        if where in groups
    ]


def _where(node: DOMNode, screen: Screen[Any], app: App[Any]) -> str:
    if node is app:
        return "Everywhere"
    return "This screen" if node is screen else "The focused part"


class HelpScreen(ModalScreen[None]):
    """The keys, and the states' glyphs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "dismiss", "Close", id="help.close"),
        Binding("j", "down", "Down", show=False),
        Binding("k", "up", "Up", show=False),
    ]

    def __init__(self, title: str, keys: Keys, legend: tuple[tuple[str, str, str], ...]) -> None:
        super().__init__()
        self.heading = title
        self.keys = keys
        self.legend = legend
        """Per state: glyph, name, theme variable."""

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as scroll:
            scroll.border_title = f"Help: {self.heading}"
            scroll.border_subtitle = "esc close"
            yield Static(self._text())

    def _text(self) -> Content:
        width = max((len(keys) for _, group in self.keys for keys, _, _ in group), default=4)
        lines: list[Content] = []
        for where, group in self.keys:
            lines.append(Content.styled(where, "bold $muted"))
            for keys, what, id_ in group:
                named = f"{what:<28} " if id_ else what
                lines.append(Content.assemble("  ", (f"{keys:>{width}}", "$accent"), "  ", named, (id_, "$muted")))
            lines.append(Content(""))
        lines.append(Content.styled("States", "bold $muted"))
        lines.append(
            Content.assemble("  ", *(part for glyph, name, colour in self.legend for part in ((glyph, f"${colour}"), f" {name}  ")))
        )
        lines.append(Content(""))
        lines.append(Content.styled("A key's id, at the right, rebinds it: [keys] in config.toml; interp-tui locate says where.", "$muted"))
        return Content("\n").join(lines)

    def action_down(self) -> None:
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_up(self) -> None:
        self.query_one(VerticalScroll).scroll_up(animate=False)
