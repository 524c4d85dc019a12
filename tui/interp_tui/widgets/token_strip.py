"""Text as its tokens, each coloured by a number, under a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from interp_tui.terminal.guard import Guarded

from .colour_scale import LOOKS, Look, Scale, ScaleStyles, digit, glyph


@dataclass(frozen=True)
class Token:
    """One token's text, already sanitised, and its number; None where it has none (a first token is predicted from nothing).

    uttered: the text as the model cut it, never to be drawn.
    """

    text: str
    value: float | None
    uttered: str


class TokenStrip(Guarded, Widget, can_focus=True):
    """Tokens over as many lines as they need; where colours cannot tell their numbers, a line of glyphs or digits under each."""

    DEFAULT_CSS = """
    TokenStrip { height: auto; min-height: 1; max-height: 100%; width: 1fr; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", "Token", key_display="←→", id="tokens.left"),
        Binding("right", "move(1)", "Next token", show=False, id="tokens.right"),
        Binding("up,k", "line(-1)", "Line above", show=False, id="tokens.up"),
        Binding("down,j", "line(1)", "Line below", show=False, id="tokens.down"),
        Binding("home", "move(-1000000)", "First token", show=False, id="tokens.home"),
        Binding("end", "move(1000000)", "Last token", show=False, id="tokens.end"),
        Binding("g", "look", "Colour/glyph/digit", show=False, id="tokens.look"),
    ]

    class Moved(Message):
        """The cursor is on another token."""

        def __init__(self, strip: TokenStrip) -> None:
            super().__init__()
            self.strip, self.index = strip, strip.index

        @property
        def control(self) -> TokenStrip:
            return self.strip

    def __init__(self, *, cursor: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = cursor
        """Whether one token is always marked; without, only while the strip has the keys."""
        self.tokens: tuple[Token, ...] = ()
        self.scale = Scale(0.0, 0.0)
        self.index = 0
        self.look: Look = "colour"
        self._lines: list[list[int]] = []
        self._wrapped = 0
        """The width that the lines are for."""
        self._top = 0
        self._palette: ScaleStyles | None = None

    def show(self, tokens: Sequence[Token], scale: Scale) -> None:
        """Replace what is shown; the cursor keeps its place."""
        shown = tuple(tokens)
        if (shown, scale) == (self.tokens, self.scale):
            return
        self.tokens, self.scale = shown, scale
        self.index = max(0, min(self.index, len(shown) - 1))
        self._wrap()
        self.refresh(layout=True)

    def move_to(self, index: int) -> None:
        """Put the cursor on a token, or on the nearest there is."""
        index = max(0, min(index, len(self.tokens) - 1))
        if index != self.index:
            self.index = index
            self._follow()
            self.refresh()
            self.post_message(self.Moved(self))

    @property
    def _tall(self) -> int:
        """Screen lines that a line of tokens takes."""
        return 1 if self._coloured else 2

    @property
    def _coloured(self) -> bool:
        return self.look == "colour" and self.palette.coloured

    @property
    def palette(self) -> ScaleStyles:
        if self._palette is None:
            self._palette = ScaleStyles(self.app.theme_variables)
        return self._palette

    def _line_of(self, index: int) -> int:
        return next((y for y, line in enumerate(self._lines) if index in line), 0)

    def _follow(self) -> None:
        line, room = self._line_of(self.index), max(1, self.size.height // self._tall)
        self._top = max(0, min(max(self._top, line - room + 1), line))

    def action_move(self, by: int) -> None:
        self.move_to(self.index + by)

    def action_line(self, by: int) -> None:
        if not self._lines:
            return
        here = self._line_of(self.index)
        there = max(0, min(here + by, len(self._lines) - 1))
        column = self._lines[here].index(self.index)
        self.move_to(self._lines[there][min(column, len(self._lines[there]) - 1)])

    def action_look(self) -> None:
        self.look = LOOKS[(LOOKS.index(self.look) + 1) % len(LOOKS)]
        self.refresh(layout=True)

    def on_click(self, event: events.Click) -> None:
        line = self._top + event.y // self._tall
        x = 0
        for index in self._lines[line] if line < len(self._lines) else []:
            x += cell_len(self.tokens[index].text)
            if event.x < x:
                self.move_to(index)
                return

    def _wrap(self) -> None:
        self._wrapped = self.size.width
        self._lines = wrap([token.text for token in self.tokens], self._wrapped)
        self._top = 0
        self._follow()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        if self._wrapped == self.size.width:  # it was drawn before this event came
            self._follow()
        else:
            self._wrap()
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette = None

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return max(1, self._tall * len(wrap([token.text for token in self.tokens], width)))

    def render_line(self, y: int) -> Strip:
        base, width = self.rich_style, self.size.width
        if self._wrapped != width:  # drawn before the event that tells of the new size
            self._wrap()
        line, under = divmod(y, self._tall)
        line += self._top
        if line >= len(self._lines):
            return Strip.blank(width, base)
        return Strip([self._drawn(index, base, under=bool(under)) for index in self._lines[line]]).adjust_cell_length(width, base)

    def _drawn(self, index: int, base: Style, *, under: bool) -> Segment:
        token = self.tokens[index]
        share = None if token.value is None else self.scale.share(token.value)
        text, style = token.text, base
        if under:
            mark = "" if share is None else digit(share) if self.look == "digit" else glyph(share, ascii=self.app.has_class("-ascii"))
            room = cell_len(token.text)
            return Segment(set_cell_size(mark.strip() if room < 2 else mark, room), base)
        if self._coloured and share is not None:
            style = base + self.palette.style(share)
        if index == self.index and (self.cursor or self.has_focus):
            style = base + Style(reverse=True, bold=True)
        return Segment(text, style)


def wrap(texts: Sequence[str], width: int) -> list[list[int]]:
    """The indices of the tokens on each line of `width` cells; a token wider than that is alone on its line, and cut there."""
    lines: list[list[int]] = []
    used = 0
    for index, text in enumerate(texts):
        need = cell_len(text)
        if not lines or used + need > max(1, width):
            lines.append([])
            used = 0
        lines[-1].append(index)
        used += need
    return lines
