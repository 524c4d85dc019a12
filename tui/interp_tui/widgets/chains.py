"""One line a chain: how far it is, its newest numbers, and how it fares. A chain that failed says why, over as many lines as that takes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

from interp_tui.text.numbers import number

from .facts import rich_style

COLUMNS = ("loss", "λ̂", "|grad|", "|w−w₀|")
ASCII_COLUMNS = ("loss", "llc", "|grad|", "|w-w0|")
NUMBER_WIDTH = 9
HEALTH_WIDTH = 14
LEAST_BAR, MOST_BAR = 8, 32


@dataclass(frozen=True)
class ChainLine:
    """What one line shows. `failure` replaces the numbers; texts are already sanitised."""

    chain: int
    fraction: float
    draws: str
    numbers: tuple[float | None, ...]
    health: str
    tone: str
    """The theme variable the health is drawn in."""
    failure: str = ""


class ChainTable(Static):
    """Lines under a header; nothing moves when numbers change. The highlighted chain is marked by a sign and in bold."""

    DEFAULT_CSS = """
    ChainTable { width: 100%; height: auto; }
    """

    def show(self, lines: Sequence[ChainLine], *, highlight: int | None, width: int) -> None:
        """Replace what is shown, drawn `width` cells wide."""
        self.update(draw(lines, highlight, width, self.app.theme_variables, ascii=self.app.has_class("-ascii")))


def draw(lines: Sequence[ChainLine], highlight: int | None, width: int, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The table as text, `width` cells wide."""
    muted, bad = rich_style(colours.get("muted", "")), rich_style(colours.get("bad", ""))
    rule = rich_style(colours.get("rule", ""))
    draws = max([5, *(cell_len(line.draws) for line in lines)])
    chain = max([5, *(len(str(line.chain)) for line in lines)])
    fixed = 1 + chain + 2 + 2 + draws + len(COLUMNS) * NUMBER_WIDTH + 2 + HEALTH_WIDTH
    bar_width = max(LEAST_BAR, min(MOST_BAR, width - fixed))
    titles = "".join(" " * (NUMBER_WIDTH - cell_len(title)) + title for title in (ASCII_COLUMNS if ascii else COLUMNS))
    text = Text(end="", no_wrap=True, overflow="crop")
    text.append(f" {'chain'.rjust(chain)}  {'progress'.ljust(bar_width)[:bar_width]}  {'draws'.rjust(draws)}{titles}  health", muted)
    for line in lines:
        chosen = line.chain == highlight
        colour = rich_style(colours.get(f"chain-{line.chain % 8}", ""), bold=chosen)
        pointer = (">" if ascii else "▸") if chosen else " "
        text.append(f"\n{pointer}{str(line.chain).rjust(chain)}  ", colour)
        if line.failure:
            indent = chain + 3
            sign = "x" if ascii else "✗"
            parts = textwrap.wrap(f"{sign} {line.failure}", max(20, width - indent), subsequent_indent="  ", max_lines=3, placeholder=" …")
            text.append(("\n" + " " * indent).join(parts), bad)
            continue
        done = round(line.fraction * bar_width)
        text.append(("#" if ascii else "━") * done, colour)
        text.append(("." if ascii else "─") * (bar_width - done), rule)
        text.append(f"  {line.draws.rjust(draws)}", "bold" if chosen else "")
        for value in line.numbers:
            shown = number(value)
            style = muted if value is None else "bold" if chosen else ""
            text.append((shown.replace("—", "-") if ascii else shown).rjust(NUMBER_WIDTH), style)
        text.append("  ")
        text.append(line.health, rich_style(colours.get(line.tone, "")))
    return text
