"""One line to type a filter in; there only while there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
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
    FilterLine > .-hint { color: $muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(1)", "The filter used before", show=False, id="filter.before"),
        Binding("down", "recall(-1)", "The filter used after", show=False, id="filter.after"),
    ]

    class Changed(Message):
        """The text is another."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

        def can_replace(self, message: Message) -> bool:
            """Of keys typed faster than the runs can be looked through, the last says it all."""
            return isinstance(message, FilterLine.Changed)

    class Done(Message):
        """The user is through with typing this text."""

        def __init__(self, line: FilterLine, text: str) -> None:
            super().__init__()
            self.text = text
            self._line, self._turn = line, line.turn

        @property
        def still(self) -> bool:
            """Whether nothing is typed in the line again by now: then the focus is to go elsewhere."""
            return self._line.turn == self._turn

    def __init__(self, examples: str) -> None:
        super().__init__(disabled=True)  # so that nothing gives the focus to a line that is not there
        self.examples = examples
        self.history: Sequence[str] = ()
        """Filters used before, the newest first."""
        self.hint = ""
        """What is said while nothing is typed."""
        self.turn = 0
        """How often typing was begun."""
        self._recalled = -1

    def compose(self) -> ComposeResult:
        box = Input(compact=True, placeholder=self.examples)
        box.cursor_blink = False
        with Horizontal():
            yield Static("/", classes="sign")
            yield box
        yield Static("", classes="said")

    def start(self) -> None:
        """Show the line and type in it."""
        self.turn += 1
        self.disabled = False
        self.display = True
        self._recalled = -1
        self.query_one(Input).focus()
        if not self.query_one(Input).value:
            self.say(self.hint, hint=True)

    def clear(self) -> None:
        """No filter, no line."""
        self.say("")
        self.query_one(Input).value = ""
        self.display = False
        self.disabled = True
        self.post_message(self.Done(self, ""))

    def put(self, text: str) -> None:
        """Have this text in the line."""
        box = self.query_one(Input)
        box.value = text
        box.cursor_position = len(text)

    def action_recall(self, by: int) -> None:
        """Put the filter used before into the line, or the one after it; after the newest, nothing."""
        self._recalled = max(-1, min(self._recalled + by, len(self.history) - 1))
        self.put(self.history[self._recalled] if self._recalled >= 0 else "")

    def say(self, text: str, *, hint: bool = False) -> None:
        """Say what is wrong, or, as a hint, what can be typed: the line's own hint where nothing else is said and nothing typed."""
        box = self.query_one(Input)
        if not text and box.has_focus and not box.value:
            text, hint = self.hint, True
        message = self.query_one(".said", Static)
        message.set_class(hint, "-hint")
        message.display = bool(text)
        message.update(Content(text))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self.post_message(self.Done(self, event.value))
        else:
            self.clear()
