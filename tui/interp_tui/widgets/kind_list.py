"""The questions one can ask, under the heads of their groups; letters typed in it find one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from textwrap import wrap
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from interp_tui.terminal.guard import Guarded

Groups = Mapping[str, Sequence[tuple[str, str]]]


class KindList(Guarded, OptionList):
    """A kind an option: its name, and its question wrapped to hang under it."""

    DEFAULT_CSS = """
    KindList { height: 1fr; border: none; padding: 0; background: $background; scrollbar-size-vertical: 1; }
    KindList:focus { border: none; background-tint: transparent; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Choose", id="kinds.choose", key_display="⏎")]

    class Typed(Message):
        """What is looked for is another; empty for nothing."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True)
        self.groups: Groups = {}
        self.typed = ""

    @property
    def names(self) -> list[str]:
        """Every kind, in the order of the list, found or not."""
        return names_of(self.groups)

    def show(self, groups: Groups) -> None:
        """List (name, question) pairs by group."""
        self.groups = groups
        self._list()

    def _list(self) -> None:
        width = max(24, self.size.width - 3)
        self.clear_options()
        for group, members in matching(self.groups, self.typed).items():
            self.add_option(Option(Content.styled(group, "bold $muted"), disabled=True))
            for name, question in members:
                lines = "\n".join(wrap(question, width, initial_indent="  ", subsequent_indent="  "))
                self.add_option(Option(Content.assemble((name, "$accent"), "\n", lines), id=name))

    def go_to(self, name: str) -> None:
        """Put the cursor on a kind; letters that hide it are dropped. A kind that is not here at all leaves the cursor where it is."""
        if name not in self.names:
            return
        if self.typed and name not in names_of(matching(self.groups, self.typed)):
            self.typed = ""
            self._list()
            self.post_message(self.Typed(""))
        self.highlighted = self.get_option_index(name)

    # -- finding

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Letters are typed here and do nothing else, as in a line of input."""
        return character is not None and (character.isalnum() or character == "_" or (character == " " and bool(self.typed)))

    async def _on_key(self, event: events.Key) -> None:
        if self.check_consume_key(event.key, event.character):
            self._find(self.typed + (event.character or ""))
        elif event.key == "backspace" and self.typed:
            self._find(self.typed[:-1])
        elif event.key == "escape" and self.typed:
            self._find("")
        else:
            return
        event.stop()
        event.prevent_default()

    def _find(self, typed: str) -> None:
        """Show what meets the letters, the cursor on the likeliest; letters that nothing meets are not taken."""
        likeliest = best(self.groups, typed)
        if typed and likeliest is None:
            self.app.bell()
            return
        before = self.highlighted_option.id if self.highlighted_option is not None else None
        self.typed = typed
        self._list()
        self.go_to(likeliest if typed and likeliest is not None else before or self.names[0])
        self.post_message(self.Typed(typed))

    def action_page_up(self) -> None:
        with suppress(KeyError):  # Textual looks up lines that it makes when the list is drawn
            super().action_page_up()  # type: ignore[no-untyped-call]

    def action_page_down(self) -> None:
        with suppress(KeyError):
            super().action_page_down()  # type: ignore[no-untyped-call]

    def on_resize(self) -> None:
        highlighted = self.highlighted
        if self.groups:
            self._list()
            self.highlighted = highlighted


def names_of(groups: Groups) -> list[str]:
    """The kinds of all groups, in order."""
    return [name for members in groups.values() for name, _ in members]


def matching(groups: Groups, typed: str) -> Groups:
    """The kinds whose name or question holds every word that was typed; groups without one are left out."""
    words = typed.lower().split()
    matching = {
        group: [(name, question) for name, question in members if all(word in f"{name} {question}".lower() for word in words)]
        for group, members in groups.items()
    }
    return {group: members for group, members in matching.items() if members}


def best(groups: Groups, typed: str) -> str | None:
    """The likeliest kind: one that begins so, then one that is called so, then the first that asks so."""
    names = names_of(matching(groups, typed))
    first = typed.lower().split()[:1]
    return min(names, key=lambda name: (not name.startswith(tuple(first)), not any(word in name for word in first)), default=None)
