"""Every key that works where `?` was pressed, read from the bindings themselves, so that it cannot be out of date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.app import App
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen

NOT_WORTH_A_LINE = {
    "Scroll Left",
    "Scroll Right",
    "Page Left",
    "Page Right",
    "Copy selected text",
    "Maximize",
    "Minimize",
}
MOVING = {"Focus Next": "Next part", "Focus Previous": "Previous part", "palette": "Command palette"}

Keys = list[tuple[str, list[tuple[str, str, str]]]]


def active_keys(app: App[Any]) -> Keys:
    """(where, [(keys, what, binding id)]) for the focused widget, the screen and the app."""
    screen = app.screen
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for key, active in screen.active_bindings.items():
        binding = active.binding
        if not binding.description or binding.description in NOT_WORTH_A_LINE:
            continue
        where = "Everywhere" if binding.description in MOVING else _where(active.node, screen, app)
        what = MOVING.get(binding.description, binding.description)
        shown = binding.key_display or app.get_key_display(binding) or key
        groups.setdefault(where, {}).setdefault((what, binding.id or ""), []).append(shown)
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


def help_text(keys: Keys, states: Sequence[tuple[str, str, str]]) -> Content:
    """The keys by where they work, then what the states' glyphs mean; `states` are (glyph, name, theme variable)."""
    width = max((len(shown) for _, group in keys for shown, _, _ in group), default=4)
    lines: list[Content] = []
    for where, group in keys:
        lines.append(Content.styled(where, "bold $muted"))
        for shown, what, id_ in group:
            named = f"{what:<30} " if id_ else what
            lines.append(Content.assemble("  ", (f"{shown:>{width}}", "$accent"), "  ", named, (id_, "$muted")))
        lines.append(Content(""))
    lines.append(Content.styled("States", "bold $muted"))
    for row in (states[:4], states[4:]):
        parts = [Content.assemble((glyph, f"${colour}"), f" {name:<13}") for glyph, name, colour in row]
        lines.append(Content.assemble("  ", *parts))
    lines.append(Content(""))
    lines.append(Content.styled("[keys] in config.toml binds an action, by the id at its right, to another key.", "$muted"))
    return Content("\n").join(lines)
