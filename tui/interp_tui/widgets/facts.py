"""A short list of named numbers: one a line in a side panel, or flowing over as few lines as they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static


@dataclass(frozen=True)
class Fact:
    """A label, what it says, and the theme variable it is said in.

    `loud` facts stand out, `alone` ones take a line of their own, `roomy` ones are shown in a column only.
    """

    label: str
    value: str
    colour: str = ""
    loud: bool = False
    alone: bool = False
    roomy: bool = False


class Facts(Static):
    """Shows facts as a column where it is tall, as a paragraph where it is flat."""

    DEFAULT_CSS = """
    Facts { width: 100%; height: auto; }
    """

    def show(self, facts: Sequence[Fact], *, flat: bool) -> None:
        """Replace what is shown."""
        colours = self.app.theme_variables
        self.update(paragraph(facts, self.size.width or 80, colours) if flat else column(facts, colours))


def rich_style(colour: str, *, bold: bool = False) -> str:
    """A rich style of a theme variable's value: Textual's `ansi_default` and the like are rich's `default`."""
    return " ".join(filter(None, ["bold" if bold else "", colour.removeprefix("ansi_")]))


def _append(text: Text, fact: Fact, label: str, colours: Mapping[str, str]) -> None:
    text.append(label, rich_style(colours.get("muted", "")))
    text.append(fact.value, rich_style(colours.get(fact.colour, ""), bold=fact.loud))


def column(facts: Sequence[Fact], colours: Mapping[str, str]) -> Text:
    """One fact a line, values starting in one column."""
    wide = max((cell_len(fact.label) for fact in facts if not fact.alone), default=0)
    text = Text(end="")
    for index, fact in enumerate(facts):
        text.append(("\n\n" if fact.alone else "\n") if index else "")
        gap = "\n" if fact.alone else " " * (wide - cell_len(fact.label) + 2)
        _append(text, fact, fact.label + gap if fact.label else "", colours)
    return text


def paragraph(facts: Sequence[Fact], width: int, colours: Mapping[str, str]) -> Text:
    """As many facts on a line as fit."""
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    used = 0
    for fact in facts:
        need = cell_len(fact.label) + 1 + cell_len(fact.value)
        if fact.roomy or not fact.value:
            continue
        if used and (fact.alone or used + 3 + need > width):
            text.append("\n")
            used = 0
        text.append("   " if used else "")
        _append(text, fact, f"{fact.label} " if fact.label else "", colours)
        used += need + 3 if not fact.alone else width
    return text
