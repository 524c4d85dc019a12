"""What every view of a run is: it copies from the run's state what it shows, then draws that copy as often as it is asked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from interp_tui.runs.runstate import RunState
from interp_tui.terminal.guard import Guarded
from interp_tui.text.numbers import number, quantities
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, column
from interp_tui.widgets.list_table import ListTable
from interp_tui.widgets.token_strip import TokenStrip
from interp_tui.widgets.trace import TracePlot
from interp_tui_engine import resource_use
from interp_tui_engine.payload import Use, read
from interp_tui_engine.runfolder import RunFolder

WIDE = 110
"""From this width on, a view has room for a panel at its side."""

ROWS_AT_MOST = 500
"""Lines of one table in the result tab; the rest is in result.json."""


class QuietTable(ListTable):
    """A table whose rows open nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open", show=False, id="table.open")]


class RunView(Guarded, Vertical, can_focus=True):
    """The Live tab of a run, and how its result reads.

    `take` copies, `draw_plots` and `draw_tables` draw the copy: while the screen is frozen nothing is taken, but the cursor still moves
    over what was, and a new size is drawn anew.
    """

    KINDS: ClassVar[tuple[str, ...]] = ()
    DEFAULT_CSS = """
    RunView { padding: 0 1; }
    RunView:focus { background-tint: transparent; }
    """

    folder: RunFolder | None = None
    """The run's folder, for views that show what a finished run left in files; read it off the event loop."""

    class LookChanged(Message):
        """The user changed how the view looks: draw it soon."""

    class Open(Message):
        """The user asked for another run that this one leads to."""

        def __init__(self, folder: RunFolder) -> None:
            super().__init__()
            self.folder = folder

    def open_child(self, folder: RunFolder, what: str, state: str) -> None:
        """Open the run of a point or a step, or say why there is none to open."""
        if folder.manifest_path.is_file():
            self.post_message(self.Open(folder))
        else:
            self.app.notify(f"{what} has not begun" if state in ("", "queued") else f"the folder of {what} is not here any more")

    class Told(Message):
        """There is something to read over the screen, under a title."""

        def __init__(self, title: str, text: Content) -> None:
            super().__init__()
            self.title, self.text = title, text

    def token_at(self) -> tuple[str, ...]:
        """The token under the cursor after those before it in its text, as the model cut them; empty where the cursor is on none.

        Of a strip beside what has the keys, its marked token.
        """
        strips = [strip for strip in self.query(TokenStrip) if strip.cursor and strip.display and strip.tokens]
        strip = next((strip for strip in strips if strip.has_focus), strips[0] if strips else None)
        return tuple(token.uttered for token in strip.tokens[: strip.index + 1]) if strip is not None else ()

    def take(self, state: RunState, waiting: str) -> None:
        """Copy what is shown from `state`. `waiting` says, for a run that has nothing to show yet, what it is doing."""
        raise NotImplementedError

    async def draw_plots(self) -> None:
        """Draw what was taken: the parts that cost time."""
        raise NotImplementedError

    def draw_tables(self) -> None:
        """Draw what was taken: the rest."""
        raise NotImplementedError

    @on(TracePlot.Resized)
    def _has_room(self) -> None:
        self.post_message(self.LookChanged())

    def on_resize(self) -> None:
        self.post_message(self.LookChanged())

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        """The result's numbers, as the Result tab shows them above the report."""
        return scalars(result, colours, ascii=ascii)


def scalars(result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool, skip: frozenset[str] = frozenset()) -> Text:
    """Headline pairs first, errors joined to their means; then whatever else there is, as dotted keys."""
    shown = {k: v for k, v in result.items() if k not in skip and k != resource_use.TABLE}
    rows = [Fact(sign, text, "muted" if unclear else "") for sign, text, unclear in quantities(shown, ascii=ascii)]
    rows += [Fact(key, wording) for key, wording in _nested({k: v for k, v in shown.items() if k != "uncertainty"}) if key]
    took = [Fact(what, text, "muted") for what, text in resource_use.words(read(Use, result.get(resource_use.TABLE)))]
    rows += [fact for fact in took if resource_use.TABLE not in skip]
    if len(rows) > ROWS_AT_MOST:
        rows = [*rows[:ROWS_AT_MOST], Fact("", f"and {len(rows) - ROWS_AT_MOST} more in result.json", "muted")]
    return column(rows, colours)


def _nested(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The lists and tables in `value`, a line for each that holds no further table."""
    if isinstance(value, Mapping):
        named = [(clean(str(key), limit=40), item) for key, item in value.items()]
        return [row for key, item in named for row in _nested(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        if any(isinstance(item, (Mapping, list)) for item in value):
            return [row for index, item in enumerate(value) for row in _nested(item, f"{path}.{index}")]
        return [(path, "  ".join(number(item) for item in value[:24]) + (" …" if len(value) > 24 else ""))]
    return [(path, number(value))] if "." in path else []
