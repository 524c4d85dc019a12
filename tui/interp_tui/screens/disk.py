"""What the runs take on disk, the largest first, and dropping of it what their results do not need."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from interp_tui.runs import disk
from interp_tui.runs.disk import DiskUsage
from interp_tui.runs.session import Run
from interp_tui.terminal import host, themes
from interp_tui.text.numbers import size
from interp_tui.text.sanitise import clean
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row

from .base import WorkScreen
from .confirm import ConfirmScreen

COLUMNS = (
    Column("", 2),
    Column("kind", 10, grow=1, most=20, drop=2),
    Column("name", 14, grow=3, most=40),
    Column("takes", 9, right=True),
    Column("stores", 9, right=True),
    Column("", 16, drop=1),
    Column("age", 6, right=True, drop=3),
)
BAR = 16
AT_ONCE = 50
"""Runs that are measured before the list is drawn anew."""


class DiskScreen(WorkScreen):
    """A row a run; its stores are the arrays and checkpoints that can go when the run is done."""

    TITLE = "Disk"
    AUTO_FOCUS = "ListTable"
    CSS = """
    DiskScreen #sum { height: auto; padding: 0 1; margin-bottom: 1; }
    DiskScreen ListTable { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("P", "prune", "Prune", id="disk.prune", key_display="P", tooltip="drop the stores of this run, or of all that are marked"),
        Binding("m", "mark", "Mark", id="disk.mark"),
        Binding("M", "mark_all", "Mark all that can be pruned, or none", id="disk.mark.all", show=False),
        Binding("enter", "open", "Open", id="disk.open", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, DiskUsage] = {}
        """By run, of those that have been measured."""
        self.listed: dict[str, Run] = {}
        self.marked: set[str] = set()
        self.left = 0
        """Bytes that kills have left behind."""

    def body(self) -> ComposeResult:
        yield Static("measuring …", id="sum")
        yield ListTable(COLUMNS, id="disk")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.measure()

    # -- measuring

    @work(thread=True, group="disk", exclusive=True)
    def measure(self) -> None:
        """Walk through every run's folder, in a thread: as slow as the disk."""
        runs = self.workbench.index.refresh()
        self.tell(self._listed, runs)
        found: dict[str, DiskUsage] = {}
        for count, run in enumerate(runs, 1):
            found[run.key] = disk.usage(run.folder)
            if count % AT_ONCE == 0:
                self.tell(self._measured, dict(found), 0, False)
        left = sum(map(disk.size_of, disk.left_behind(self.workbench.runs_root)))
        self.tell(self._measured, found, left, True)

    def _listed(self, runs: list[Run]) -> None:
        self.listed = {run.key: run for run in runs}

    def _measured(self, used: dict[str, DiskUsage], left: int, whole: bool) -> None:
        self.used, self.left = used, left
        self.marked &= used.keys()
        self._draw(whole=whole)

    def _draw(self, *, whole: bool = True) -> None:
        order = sorted(self.used, key=lambda key: -self.used[key].total)
        most = self.used[order[0]].total if order else 0
        self.query_one(ListTable).set_rows([self._row(key, most) for key in order])
        self.query_one("#sum", Static).update(self._sum(whole))
        self.refresh_bindings()

    def _row(self, key: str, most: int) -> Row:
        used, run, ascii = self.used[key], self.listed[key], self.workbench.ascii_mode
        state = run.status.state
        mark = "+" if key in self.marked else themes.glyph(state, ascii)
        stores = size(used.stores) if used.stores else "pruned" if disk.pruned(used.folder) is not None else "-" if ascii else "·"
        return Row(
            key,
            (
                Cell(mark, "accent" if key in self.marked else themes.colour_name(state)),
                Cell(clean(run.status.kind, limit=40)),
                Cell(clean(run.status.name, limit=60)),
                Cell(size(used.total)),
                Cell(stores, "foreground" if self._prunable(key) else "muted"),
                Cell(("#" if ascii else "█") * round(BAR * used.total / max(1, most)), "accent"),
                Cell(host.age(host.now() - run.started), "muted"),
            ),
        )

    def _sum(self, whole: bool) -> Content:
        total, free = sum(used.total for used in self.used.values()), sum(self.used[key].stores for key in self.used if self._prunable(key))
        counted = f"{len(self.used):,} {'run' if len(self.used) == 1 else 'runs'}" + ("" if whole else f" of {len(self.listed):,} so far")
        parts: list[tuple[str, str]] = [(f"{counted}  ", ""), (size(total), "bold")]
        parts.append((f"   {size(free)} of it are arrays and checkpoints of runs that are done: P drops them, results stay", "$muted"))
        if self.left:
            parts.append((f"   {size(self.left)} were left behind by kills and go with the next prune", "$muted"))
        return Content.assemble(*parts)

    def _prunable(self, key: str) -> bool:
        return bool(self.used[key].stores) and self.listed[key].status.state == "done"

    # -- keys

    @property
    def current(self) -> str | None:
        key = self.query_one(ListTable).key if self.is_mounted else None
        return key if key in self.used else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "prune" and not any(map(self._prunable, self.marked or {self.current or ""} & self.used.keys())):
            return None
        return True

    @on(ListTable.Highlighted)
    def _moved(self) -> None:
        self.refresh_bindings()

    @on(ListTable.Selected)
    def _selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if (key := self.current) is not None:
            self.workbench.open_run(self.used[key].folder, over=True)

    def action_mark(self) -> None:
        if (key := self.current) is not None:
            self.marked ^= {key}
            self._draw()

    def action_mark_all(self) -> None:
        prunable = {key for key in self.used if self._prunable(key)}
        self.marked = set() if self.marked == prunable else prunable
        self._draw()

    def copied(self) -> str:
        return str(self.used[key].folder.path) if (key := self.current) is not None else ""

    def action_prune(self) -> None:
        """Ask, then drop the stores of the marked runs that are done, or of the one under the cursor."""
        chosen = [key for key in (self.marked or {self.current or ""}) if key in self.used and self._prunable(key)]
        if not chosen:
            return
        freed = sum(self.used[key].stores for key in chosen)
        named = clean(self.listed[chosen[0]].status.name, limit=60) if len(chosen) == 1 else f"{len(chosen):,} runs"
        details = (
            f"{named}: {size(freed)} of arrays and checkpoints go.",
            "Results, reports, figures and manifests stay; the manifest makes the rest again.",
        )
        question = ConfirmScreen("Drop their arrays?" if len(chosen) > 1 else "Drop its arrays?", details, "drop")
        self.app.push_screen(question, partial(self._answered, chosen))

    def _answered(self, chosen: list[str], yes: bool | None) -> None:
        if yes:
            folders = [self.used[key].folder for key in chosen]
            self.do(lambda: disk.sweep(self.workbench.runs_root) + sum(map(disk.prune, folders)), self._pruned)

    def _pruned(self, freed: int) -> None:
        self.notify(f"{size(freed)} freed; results stay", title="Pruned", markup=False)

    def look_again(self) -> None:
        self.measure()
