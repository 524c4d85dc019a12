"""A question before something that cannot be undone. The safe answer is the one under the cursor."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from interp_tui.terminal.guard import Guarded


class ConfirmScreen(Guarded, ModalScreen[bool]):
    """Shows what is about to happen and to what; `y` does it, anything that means no does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape,enter,q", "answer(False)", "No", id="confirm.no"),
    ]

    def __init__(self, question: str, details: tuple[str, ...], verb: str, otherwise: str = "keep") -> None:
        super().__init__()
        self.question = question
        self.details = details
        self.verb, self.otherwise = verb, otherwise

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content.styled(self.question, "bold"))
            yield Static(Content("\n".join(self.details)), classes="details")
            yield Static(Content.assemble(("y", "bold $bad"), f" {self.verb}   ", ("n", "bold $accent"), f" {self.otherwise}"))

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
