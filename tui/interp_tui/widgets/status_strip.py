"""The status strip over a run: what it is and how it stands, then how far it is. Takes plain values, already sanitised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from interp_tui.terminal.guard import Guarded
from interp_tui.text.numbers import bar, percent_done

from .facts import rich_style


@dataclass(frozen=True)
class StripFacts:
    """The strip's parts. `badge` stands at the right of the first line; `notice`, where there is one, takes a third line."""

    glyph: str
    colour: str
    """The theme variable of the state."""
    title: tuple[str, ...]
    """Kind, name, model, device."""
    badge: str
    badge_colour: str
    badge_loud: bool
    fraction: float | None
    parts: tuple[str, ...]
    """Numbers with their units, most important first; those that do not fit are left out."""
    notice: str = ""
    notice_colour: str = "warn"


class StatusStrip(Guarded, Static):
    """Two lines, and a third while something needs saying."""

    DEFAULT_CSS = """
    StatusStrip { height: auto; width: 100%; padding: 0 1; background: $background; }
    """

    def show(self, facts: StripFacts) -> None:
        """Replace what is shown."""
        width = max(20, (self.size.width or self.app.size.width) - 2)
        self.update(draw(facts, width, self.app.theme_variables, ascii=self.app.has_class("-ascii")))


def draw(facts: StripFacts, width: int, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The strip as text, `width` cells wide."""
    colour, muted = rich_style(colours.get(facts.colour, "")), rich_style(colours.get("muted", ""))
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    dot = " - " if ascii else " · "
    kind, *rest = facts.title or ("",)
    room = width - cell_len(facts.badge) - cell_len(facts.glyph) - cell_len(kind) - 3
    text.append(f"{facts.glyph} ", colour)
    text.append(kind, "bold")
    used = 0
    for index, part in enumerate(part for part in rest if part):
        if used + len(dot) + cell_len(part) > room:
            break
        text.append(dot, muted)
        text.append(part, "" if index == 0 else muted)
        used += len(dot) + cell_len(part)
    text.append(" " * max(1, room - used + 1))
    text.append(facts.badge, rich_style(colours.get(facts.badge_colour, "")) + (" bold reverse" if facts.badge_loud else ""))
    text.append("\n  ")
    used = 2
    if facts.fraction is not None:
        cells = max(10, min(40, width // 5))
        text.append(bar(facts.fraction, cells, ascii=ascii), colour)
        percent = f"{percent_done(facts.fraction):>5}"
        text.append(f" {percent}", "bold")
        used += cells + 1 + len(percent)
    for part in facts.parts:
        gap = "   " if used > 2 else ""
        if used + len(gap) + cell_len(part) > width:
            continue
        text.append(gap + part)
        used += len(gap) + cell_len(part)
    if facts.notice:
        text.append(f"\n  {facts.notice}", rich_style(colours.get(facts.notice_colour, "")))
    return text
