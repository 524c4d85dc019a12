"""One line to type a filter in; there only while there is one."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from interp_tui.terminal.guard import Guarded


class FilterLine(Guarded, Vertical):
    """`/ kind = llc & done`, and under it, only while there is something, what is wrong with it."""

    DEFAULT_CSS = """
    FilterLine { height: auto; padding: 0 1; display: none; }
    FilterLine > Horizontal { height: 1; }
    FilterLine .sign { width: 2; color: $accent; }
    FilterLine Input { width: 1fr; }
    FilterLine > .said { width: 1fr; height: auto; max-height: 3; color: $bad; padding: 0 0 0 2; display: none; }
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
        box = Input(compact=True, placeholder=self.examples)
        box.cursor_blink = False
        with Horizontal():
            yield Static("/", classes="sign")
            yield box
        yield Static("", classes="said")

    def start(self) -> None:
        """Show the line and type in it."""
        self.disabled = False
        self.display = True
        self.query_one(Input).focus()

    def clear(self) -> None:
        """No filter, no line."""
        self.say("")
        self.query_one(Input).value = ""
        self.display = False
        self.disabled = True
        self.post_message(self.Done())

    def say(self, text: str) -> None:
        said = self.query_one(".said", Static)
        said.display = bool(text)
        said.update(Content(text))

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
