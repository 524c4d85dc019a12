"""One line to type a filter in; there only while there is one."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from interp_tui.guard import Guarded


class FilterLine(Guarded, Horizontal):
    """`/ kind = llc & done`, with room at its right for what is wrong with it."""

    DEFAULT_CSS = """
    FilterLine { height: 1; padding: 0 1; display: none; }
    FilterLine > .sign { width: 2; color: $accent; }
    FilterLine > Input { width: 3fr; }
    FilterLine > .said { width: 2fr; color: $bad; padding: 0 0 0 1; }
    """

    class Changed(Message):
        """The text is another."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Done(Message):
        """The user is through with typing."""

    def __init__(self, examples: str) -> None:
        super().__init__(disabled=True)  # so that nothing gives the focus to a line that is not there
        self.examples = examples

    def compose(self) -> ComposeResult:
        yield Static("/", classes="sign")
        box = Input(compact=True, placeholder=self.examples)
        box.cursor_blink = False
        yield box
        yield Static("", classes="said")

    def start(self) -> None:
        """Show the line and type in it."""
        self.disabled = False
        self.display = True
        self.query_one(Input).focus()

    def clear(self) -> None:
        """No filter, no line."""
        self.query_one(Input).value = ""
        self.display = False
        self.disabled = True
        self.post_message(self.Done())

    def say(self, text: str) -> None:
        self.query_one(".said", Static).update(Content(text))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self.post_message(self.Done())
        else:
            self.clear()
