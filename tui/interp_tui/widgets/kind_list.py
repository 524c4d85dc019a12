"""The questions one can ask, under the heads of their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from textwrap import wrap

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from interp_tui.terminal.guard import Guarded


class KindList(Guarded, OptionList):
    """A kind an option: its name, and its question wrapped to hang under it."""

    DEFAULT_CSS = """
    KindList { height: 1fr; border: none; padding: 0; background: $background; scrollbar-size-vertical: 1; }
    KindList:focus { border: none; background-tint: transparent; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True)
        self.groups: Mapping[str, Sequence[tuple[str, str]]] = {}

    def show(self, groups: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """List (name, question) pairs by group."""
        self.groups = groups
        width = max(24, self.size.width - 3)
        self.clear_options()
        for group, members in groups.items():
            self.add_option(Option(Content.styled(group, "bold $muted"), disabled=True))
            for name, question in members:
                lines = "\n".join(wrap(question, width, initial_indent="  ", subsequent_indent="  "))
                self.add_option(Option(Content.assemble((name, "$accent"), "\n", lines), id=name))

    def go_to(self, name: str) -> None:
        """Put the cursor on a kind."""
        self.highlighted = self.get_option_index(name)

    def action_page_up(self) -> None:
        with suppress(KeyError):  # Textual looks up lines that it makes when the list is drawn
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        with suppress(KeyError):
            super().action_page_down()  # type: ignore[no-untyped-call]

    def on_resize(self) -> None:
        highlighted = self.highlighted
        if self.groups:
            self.show(self.groups)
            self.highlighted = highlighted
