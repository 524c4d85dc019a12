"""The run screen's quieter tabs: text that scrolls. They take plain values, already sanitised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.highlight import highlight
from textual.widgets import Markdown, RichLog, Static

from interp_tui.terminal.guard import Guarded, unbroken

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
    """The answer, then the report; the numbers and the arrays' hashes beside it, or below it where there is no room. Hashes are folded."""

    BINDINGS: ClassVar[list[BindingType]] = [*VIM, Binding("h", "hashes", "Hashes of the arrays", id="result.hashes", show=False)]

    DEFAULT_CSS = """
    ResultPane { padding: 0 1; scrollbar-size-vertical: 1; }
    ResultPane #verdict { margin-bottom: 1; }
    ResultPane #result { height: auto; layout: vertical; }
    ResultPane #report { height: auto; width: 1fr; }
    ResultPane #beside { height: auto; width: 1fr; }
    ResultPane.-wide #result { layout: horizontal; }
    ResultPane.-wide #report { width: 3fr; }
    ResultPane.-wide #beside { width: 2fr; border-left: solid $rule; padding-left: 2; margin-left: 1; }
    ResultPane.-alone #beside { border-left: none; padding-left: 0; margin-left: 0; }
    ResultPane.-alone #report { display: none; }
    ResultPane #hashes { margin-top: 1; color: $muted; }
    ResultPane Markdown { margin: 0; padding: 0; background: $background; }
    ResultPane MarkdownH1 { margin: 0 0 1 0; content-align: left middle; }
    ResultPane MarkdownH2 { margin: 1 0 0 0; }
    """

    _shown: tuple[Text, Text, Text, str] | None = None
    _hashes: Text | None = None
    unfolded = False

    def compose(self) -> ComposeResult:
        yield Static(id="verdict")
        with Container(id="result"):
            with Vertical(id="report"):
                # links are text here: following one would leave the terminal
                yield Markdown(open_links=False)
            with Vertical(id="beside"):
                yield Static(id="numbers")
                yield Static(id="hashes")

    async def show(self, verdict: Text, numbers: Text, hashes: Text, report: str, *, wide: bool) -> None:
        """Replace all four, where any differs."""
        self.set_class(wide, "-wide")
        self.set_class(not report.strip(), "-alone")
        if (verdict, numbers, hashes, report) == self._shown:
            return
        self._shown = (verdict, numbers, hashes, report)
        self._hashes = hashes
        self.query_one("#verdict", Static).update(verdict)
        self.query_one("#numbers", Static).update(numbers)
        self._show_hashes()
        await unbroken(self.query_one(Markdown).update(report))

    def action_hashes(self) -> None:
        """Unfold the hashes, or fold them."""
        self.unfolded = not self.unfolded
        self._show_hashes()

    def _show_hashes(self) -> None:
        count = len(self._hashes.plain.splitlines()) if self._hashes is not None else 0
        place = self.query_one("#hashes", Static)
        place.display = bool(count)
        if self._hashes is not None and count:
            named = f"sha256 of {count} array{'s' if count > 1 else ''}"
            place.update(Text(f"{named}: h folds them\n", end="").append_text(self._hashes) if self.unfolded else f"{named}: h shows them")


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

    def add(self, notes: Sequence[Text], engine: Sequence[str]) -> None:
        """Append lines to either."""
        for pane, lines in (("#said", notes), ("#engine", [Text(line) for line in engine])):
            log = self.query_one(pane, RichLog)
            at_end = log.is_vertical_scroll_end
            for line in lines:
                log.write(line, expand=True, scroll_end=at_end)
