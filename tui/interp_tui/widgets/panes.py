"""The run screen's quieter tabs: text that scrolls. They take plain values, already sanitised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.highlight import highlight
from textual.widgets import Markdown, RichLog, Static

from interp_tui.terminal.guard import Guarded

VIM: list[BindingType] = [
    Binding("k", "scroll_up", "Line up", show=False),
    Binding("j", "scroll_down", "Line down", show=False),
    Binding("g", "scroll_home", "To the top", show=False),
    Binding("G", "scroll_end", "To the end", show=False),
]


class TextPane(Guarded, VerticalScroll):
    """Scrolling text."""

    BINDINGS: ClassVar[list[BindingType]] = VIM

    DEFAULT_CSS = """
    TextPane { padding: 0 1; width: 1fr; scrollbar-size-vertical: 1; }
    TextPane .text { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Static(classes="text")

    def show(self, text: Content | Text | str) -> None:
        """Replace the text, where it differs."""
        self.query_one(".text", Static).update(text)


class TomlPane(TextPane):
    """A TOML file in colours."""

    _shown: str | None = None

    def show_toml(self, toml: str) -> None:
        """Show the file's text, unless it is what is shown already."""
        if toml != self._shown:
            self._shown = toml
            self.show(highlight(toml, language="toml"))


class ResultPane(Guarded, VerticalScroll):
    """Numbers above, the report below."""

    BINDINGS: ClassVar[list[BindingType]] = VIM

    DEFAULT_CSS = """
    ResultPane { padding: 0 1; scrollbar-size-vertical: 1; }
    ResultPane #numbers { margin-bottom: 1; }
    ResultPane Markdown { margin: 0; padding: 0; background: $background; }
    """

    _shown: tuple[Text, Text, str] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="numbers")
        yield Static(id="digests")
        # links are text here: following one would leave the terminal
        yield Markdown(open_links=False)

    async def show(self, numbers: Text, digests: Text, report: str) -> None:
        """Replace all three, where any differs."""
        if (numbers, digests, report) == self._shown:
            return
        self._shown = (numbers, digests, report)
        self.query_one("#numbers", Static).update(numbers)
        self.query_one("#digests", Static).update(digests)
        await self.query_one(Markdown).update(report)


class LogPane(Guarded, Vertical):
    """What the run said, line by line, over what its engine printed. Both follow their ends, unless scrolled up."""

    DEFAULT_CSS = """
    LogPane RichLog { height: 1fr; scrollbar-size-vertical: 1; background: $background; padding: 0 1; overflow-x: hidden; }
    LogPane RichLog:focus { background: $background; background-tint: transparent; }
    LogPane #engine { border-top: solid $rule; border-title-color: $muted; }
    """

    def compose(self) -> ComposeResult:
        yield RichLog(id="said", wrap=True, max_lines=2000, min_width=20)
        engine = RichLog(id="engine", wrap=True, max_lines=2000, min_width=20)
        engine.border_title = "engine.log"
        yield engine

    def add(self, said: Sequence[Text], engine: Sequence[str]) -> None:
        """Append lines to either."""
        for pane, lines in (("#said", said), ("#engine", [Text(line) for line in engine])):
            log = self.query_one(pane, RichLog)
            at_end = log.is_vertical_scroll_end
            for line in lines:
                log.write(line, expand=True, scroll_end=at_end)
