"""A form of one-line fields in sections that fold. It knows nothing of what the fields mean."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input

from interp_tui.terminal.guard import Guarded, unbroken

Path = tuple[str, ...]
LABEL = 22
BOX = 18
WORDS = 24
"""Cells that a field's help needs at least to be worth showing beside it."""
AT_ONCE = 5
"""Lines made before keys are looked at again: one costs about 4 ms."""


@dataclass(frozen=True)
class FormField:
    """One line of the form. An empty `text` means the default, which is shown greyed."""

    path: Path
    label: str
    text: str = ""
    default: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    required: bool = False

    def with_text(self, text: str) -> FormField:
        return replace(self, text=text)


@dataclass(frozen=True)
class Section:
    """Fields under one title."""

    title: str
    fields: tuple[FormField, ...]
    folded: bool = False


class Edited(Message):
    """What stands in a field has changed."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__()
        self.path = path
        self.text = text


class Choice(Guarded, Widget, can_focus=True):
    """One of a few words; left and right go through them. One line high, and drawn at once, unlike an overlay over a slow link."""

    DEFAULT_CSS = """
    Choice { height: 1; background: $panel; }
    Choice:focus { background: $block-cursor-blurred-background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", "Next choice", show=False),
        Binding("left", "turn(-1)", "Previous choice", show=False),
    ]
    value: reactive[str] = reactive("")

    def __init__(self, field: FormField) -> None:
        super().__init__()
        self.field = field
        self.set_reactive(Choice.value, field.text)

    def render(self) -> Content:
        shown = self.value or self.field.default
        style = "$foreground" if self.value else "$muted"
        return Content.assemble(
            ("‹ ", "$accent" if self.has_focus else "$muted"), (shown, style), (" ›", "$accent" if self.has_focus else "$muted")
        )

    def action_turn(self, by: int) -> None:
        choices = self.field.choices
        shown = self.value or self.field.default
        index = choices.index(shown) if shown in choices else -by
        self.value = choices[(index + by) % len(choices)]
        self.post_message(Edited(self.field.path, self.value))

    def on_click(self) -> None:
        self.action_turn(1)


class FieldRow(Guarded, Widget):
    """Label, box, and what the field is for or what is wrong with it; label and words are drawn by the row itself, under its one child."""

    DEFAULT_CSS = f"""
    FieldRow {{ height: 1; layout: horizontal; padding: 0 0 0 1; }}
    FieldRow > * {{ margin: 0 0 0 {LABEL + 1}; width: {BOX}; }}
    FieldRow.-narrow-row > * {{ width: 1fr; }}
    """
    error: reactive[str] = reactive("")

    def __init__(self, field: FormField) -> None:
        super().__init__()
        self.field = field

    def compose(self) -> ComposeResult:
        if self.field.choices:
            yield Choice(self.field)
            return
        suggester = SuggestFromList(self.field.suggestions) if self.field.suggestions else None
        box = Input(self.field.text, placeholder=self.field.default, compact=True, suggester=suggester, select_on_focus=False)
        box.cursor_blink = False
        yield box

    def render(self) -> Content:
        label = self.field.label if cell_len(self.field.label) <= LABEL else set_cell_size(self.field.label, LABEL - 1) + "…"
        if self.has_class("-narrow-row"):  # the form's owner says in full what there is no room for here
            return Content.assemble((label, "$bad" if self.error else "$foreground"))
        gap = " " * (LABEL + 1 + BOX + 2 - cell_len(label))
        words = (self.error, "$bad") if self.error else (self.field.help, "$muted")
        return Content.assemble((label, "$bad" if self.error else "$foreground"), gap, words).truncate(self.size.width, ellipsis=True)

    def on_resize(self) -> None:
        self.set_class(self.size.width < LABEL + BOX + WORDS, "-narrow-row")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Edited(self.field.path, event.value))


class SectionTitle(Guarded, Widget, can_focus=True):
    """A section's name; a folded section opens with enter or space."""

    DEFAULT_CSS = """
    SectionTitle { height: 1; color: $muted; text-style: bold; }
    SectionTitle.-foldable:focus { background: $block-cursor-blurred-background; color: $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "fold", "Open or fold", show=False)]
    open: reactive[bool] = reactive(True)

    def __init__(self, section: Section) -> None:
        super().__init__(classes="-foldable" if section.folded else "")
        self.section = section
        self.can_focus = section.folded
        self.set_reactive(SectionTitle.open, not section.folded)

    def render(self) -> Content:
        sign = ("▾ " if self.open else "▸ ") if self.section.folded else ""
        count = f"  {len(self.section.fields)} more" if not self.open else ""
        return Content.assemble(sign, self.section.title, (count, "not bold"))

    async def action_fold(self) -> None:
        form = self.parent
        assert isinstance(form, Form)
        self.open = not self.open
        await form.show_section(self, self.open)

    async def on_click(self) -> None:
        if self.section.folded:
            await self.action_fold()


class Form(Guarded, VerticalScroll, can_focus=False):
    """The sections of a form. Posts `Edited`; `show_errors` puts what is wrong beside the fields it is about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "Next field", show=False),
        Binding("up", "app.focus_previous", "Previous field", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.errors: dict[Path, str] = {}

    async def load(self, sections: Sequence[Section]) -> None:
        """Show these sections instead of what was shown."""
        open_before = {title.section.title for title in self.query(SectionTitle) if title.section.folded and title.open}
        async with self.batch():
            await unbroken(self.remove_children())
            made = _widgets(sections)
            for start in range(0, len(made), AT_ONCE):
                await self.mount_all(made[start : start + AT_ONCE])
                await asyncio.sleep(0)
        for title in self.query(SectionTitle):
            if title.section.title in open_before and title.section.folded:
                await title.action_fold()
        self._place_errors()

    async def show_section(self, title: SectionTitle, shown: bool) -> None:
        """Fields of a folded section are made when it is opened: most never are."""
        if shown:
            await self.mount_all([FieldRow(field) for field in title.section.fields], after=title)
            self._place_errors()
        else:
            paths = {field.path for field in title.section.fields}
            await unbroken(self.remove_children([row for row in self.query(FieldRow) if row.field.path in paths]))

    @property
    def current(self) -> FormField | None:
        """The field that has the focus."""
        focused = self.screen.focused
        return focused.parent.field if focused is not None and isinstance(focused.parent, FieldRow) else None

    def focus_field(self, path: Path | None = None) -> None:
        """Go to the field at `path`, or to the first."""
        rows = list(self.query(FieldRow))
        row = next((row for row in rows if row.field.path == path), rows[0] if rows else None)
        if row is not None and row.children:
            row.children[0].focus()

    def focus_first_error(self) -> None:
        """Go to the first field that is wrong; to none, where what is wrong has no field."""
        row = next((row for row in self.query(FieldRow) if row.error), None)
        if row is not None:
            self.focus_field(row.field.path)

    def show_errors(self, errors: Mapping[Path, str]) -> None:
        self.errors = dict(errors)
        self._place_errors()

    def _place_errors(self) -> None:
        for row in self.query(FieldRow):
            row.error = self.errors.get(row.field.path, "")

    @on(Edited)
    def _remember(self, event: Edited) -> None:
        # so that a section folded and opened again shows what was typed
        for title in self.query(SectionTitle):
            fields = title.section.fields
            if any(field.path == event.path for field in fields):
                title.section = replace(title.section, fields=tuple(f.with_text(event.text) if f.path == event.path else f for f in fields))


def _widgets(sections: Iterable[Section]) -> list[Widget]:
    children: list[Widget] = []
    for section in sections:
        children.append(SectionTitle(section))
        if not section.folded:
            children += [FieldRow(field) for field in section.fields]
    return children
