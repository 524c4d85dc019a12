"""A run's figures, one at a time: its curves and grids in braille and colours, and its report's files as pictures where those are drawn."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center
from textual.content import Content
from textual.widgets import Static

from interp_tui.runs import curves, grids
from interp_tui.screens.base import WorkScreen
from interp_tui.terminal import pictures
from interp_tui.terminal.pictures import Pictures
from interp_tui.terminal.repaint_throttle import backlog_of
from interp_tui.text.sanitise import clean
from interp_tui.views.overlay import Drawn, Overlay
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

POINTS = 300
"""Points of a curve."""
LOOK_AT_LINK = 3.0
"""Seconds after a picture by which the terminal should have taken it."""


class FiguresScreen(WorkScreen):
    """`v` goes on to the next figure. Pictures come first, where the terminal draws them."""

    TITLE = "Figures"
    CSS = """
    FiguresScreen #figure-title { height: auto; padding: 0 1; }
    FiguresScreen #picture { height: 1fr; align: center middle; display: none; }
    FiguresScreen #picture > * { width: auto; height: auto; max-width: 100%; max-height: 100%; }
    FiguresScreen Overlay { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "figure(1)", "Next figure", id="figures.next"),
        Binding("V", "figure(-1)", "Figure before", show=False, id="figures.before"),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self.files: list[Path] = []
        """Files of figures; those that are drawn as pictures are the first pages."""
        self.at = 0
        self.loaded = False
        self._problem = ""

    def body(self) -> ComposeResult:
        yield Static("reading …", id="figure-title")
        yield Center(id="picture")
        yield Overlay(steps=False, id="figure")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.read()

    @work(thread=True, exclusive=True, group="figures")
    def read(self) -> None:
        """Read the run's log, its result and the names of its files: blocking on the disk, so in a thread."""
        with suppress(OSError):
            self.files = sorted((self.folder.path / "figures").glob("*.svg"))
        name = clean(self.folder.status().name, limit=60)
        self.tell(self._read, Drawn(name, curves.read(self.folder, POINTS), grids.read(self.folder.result() or {})))

    def _read(self, drawn: Drawn) -> None:
        self.loaded = True
        overlay = self.query_one(Overlay)
        overlay.show([drawn])
        overlay.display = False
        self.show()

    # -- pages

    @property
    def pictures(self) -> Pictures:
        return self.workbench.pictures

    @property
    def drawn_files(self) -> list[Path]:
        """The files that are pages: none where no picture is drawn."""
        return self.files if self.pictures.protocol is not None else []

    @property
    def pages(self) -> int:
        return len(self.drawn_files) + len(self.query_one(Overlay).figures)

    def show(self) -> None:
        """Show the page that it stands at."""
        overlay, box = self.query_one(Overlay), self.query_one("#picture", Center)
        self.at = min(self.at, max(0, self.pages - 1))
        place = self.at - len(self.drawn_files)
        box.display = place < 0
        overlay.display = place >= 0 and bool(self.pages)
        box.remove_children()
        if place < 0:
            self.draw(self.drawn_files[self.at], self.size.width)
        elif overlay.display:
            overlay.go_to(place)
        self._say()
        self.refresh_bindings()

    def _say(self) -> None:
        """The title: which figure this is; why there is none, or no picture."""
        name = self.drawn_files[self.at].stem if self.at < len(self.drawn_files) else ""
        page = f"{self.at + 1} of {self.pages}" if self.pages else "This run has no figures yet." if self.loaded else "reading …"
        parts: list[tuple[str, str]] = [(page, "bold"), (f"  {clean(name, limit=60)}", "$accent")]
        if self._problem:
            parts.append((f"  {clean(self._problem, limit=200)}", "$warn"))
        elif self.files and not self.drawn_files:
            parts.append((f"  pictures of figures/ are {self.pictures.reason}", "$muted"))
        self.query_one("#figure-title", Static).update(Content.assemble(*parts))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.loaded and self.pages > 1 if action == "figure" else True

    def action_figure(self, by: int) -> None:
        """Go to another page."""
        self.at, self._problem = (self.at + by) % self.pages, ""
        self.show()

    # -- pictures

    @work(thread=True, exclusive=True, group="picture")
    def draw(self, file: Path, cells: int) -> None:
        """Turn a file into an image in a thread: a tenth of a second for most."""
        try:
            image = pictures.drawn(file, cells * pictures.cell_width(), self.pictures.family)
        except UserError as error:
            self.tell(self._failed, f"{error.what}; {error.hint}" if error.hint else error.what)
            return
        self.tell(self._drawn, file, image)

    def _failed(self, problem: str) -> None:
        self._problem = problem
        self._say()

    def _drawn(self, file: Path, image: Any) -> None:
        """Put the picture on the screen, unless another page shows by now or the terminal has not taken yet what it was given before."""
        if not self.is_attached or self.at >= len(self.drawn_files) or self.drawn_files[self.at] != file:
            return
        if self._behind():
            return
        assert self.pictures.protocol is not None
        picture = pictures.widget(self.pictures.protocol)
        picture.image = image
        self.query_one("#picture", Center).mount(picture)
        self.set_timer(LOOK_AT_LINK, self._behind)

    def _behind(self) -> bool:
        """Draw no more pictures where the terminal does not keep up with them."""
        behind = backlog_of(self.app._driver) > 1
        if behind and self.pictures.protocol is not None:
            self.workbench.pictures = Pictures(reason=pictures.SLOW_LINK)
            self.show()
        return behind

    def copied(self) -> str:
        """The file of the picture, or what the figure says under its cursor."""
        return str(self.drawn_files[self.at]) if self.at < len(self.drawn_files) else self.query_one(Overlay).copied()
