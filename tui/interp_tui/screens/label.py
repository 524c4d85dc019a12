"""Tags and a note of one run, to be edited."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from interp_tui.runs.labels import Labels, typed_tags
from interp_tui.terminal.guard import Guarded
from interp_tui.text.sanitise import clean
from interp_tui_engine.errors import UserError


class LabelScreen(Guarded, ModalScreen[Labels | None]):
    """Gives the labels as they are to be, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", id="label.cancel")]

    def __init__(self, name: str, labels: Labels) -> None:
        super().__init__()
        self.run_name, self.labels = name, labels

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog save") as box:
            box.border_title = Content(self.run_name)
            box.border_subtitle = "⏎ keeps · esc cancels"
            for name, text, hint in (
                ("tags", " ".join(self.labels.tags), "tags, such as paper seed-2"),
                ("note", self.labels.note, "a note on this run"),
            ):
                line = Input(text, compact=True, select_on_focus=False, placeholder=hint, id=f"label-{name}")
                line.cursor_blink = False
                yield line
            yield Static("", id="label-said")

    @on(Input.Submitted)
    def _done(self) -> None:
        try:
            tags = typed_tags(self.query_one("#label-tags", Input).value)
        except UserError as error:
            self.query_one("#label-said", Static).update(Content.styled(clean(error.what, limit=80), "$warn"))
            return
        self.dismiss(replace(self.labels, tags=tags, note=clean(self.query_one("#label-note", Input).value.strip(), limit=2000)))
