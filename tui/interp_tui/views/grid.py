"""What views of a heatmap share: a line above it, and what stands under its cursor read out beside it, or below where there is no room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Static

from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui.widgets.heatmap import Heatmap

from .base import WIDE, RunView


class GridView(RunView):
    """A view draws its heatmap and its head line in `draw_plots`, and says in `facts` what is read out."""

    DEFAULT_CSS = """
    GridView #head { height: 1; margin-bottom: 1; }
    GridView #body { height: 1fr; layout: vertical; }
    GridView Heatmap { height: 1fr; }
    GridView #side { height: auto; width: 100%; margin-top: 1; }
    GridView.-wide #body { layout: horizontal; }
    GridView.-wide #side { width: 40; height: 100%; border-left: solid $rule; padding: 0 0 0 2; margin-top: 0; }
    """

    def compose(self) -> ComposeResult:
        yield from self.above()
        with Container(id="body"):
            yield from self.grids()
            yield Facts(id="side")

    def grids(self) -> ComposeResult:
        """The heatmap, and what stands with it."""
        yield Heatmap(id="grid")

    def above(self) -> Iterator[Widget]:
        """What stands over the heatmap."""
        yield Static(id="head")

    def facts(self) -> Sequence[Fact]:
        """What is under the cursor."""
        raise NotImplementedError

    def on_focus(self) -> None:
        self.query_one(Heatmap).focus()

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts(), flat=not self.has_class("-wide"))

    @on(Heatmap.Moved)
    def _read_out(self) -> None:
        self.draw_tables()

    def named_styles(self) -> tuple[str, str]:
        """Rich styles of what is said quietly, and of what stands out."""
        muted, accent = (rich_style(self.app.theme_variables.get(name, "")) for name in ("muted", "accent"))
        return muted, accent
