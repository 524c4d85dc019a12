"""Going back and forth in a run's history: the view draws the run as it was then, and the strip says when that was."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from interp_tui.runs.playback import Moment, Playback
from interp_tui.terminal import host
from interp_tui.views.base import RunView
from interp_tui.widgets.heatmap import Heatmap
from interp_tui.widgets.list_table import ListTable
from interp_tui.widgets.status_strip import StripFacts
from interp_tui_engine.runfolder import RunFolder, Status

from .run_panes import RunPanes

Cursor = tuple[tuple[int, int] | None, str | None]
"""Row and column in a view's first grid, and the row of its first table."""
WHOLE = 1000
"""Steps that are more than any log has."""


class RunHistory(RunPanes):
    """One run, as it is or as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("comma", "history(-1)", "History: a step back", id="run.history.back", show=False),
        Binding("full_stop", "history(1)", "History: a step on", id="run.history.on", show=False),
        Binding("less_than_sign", f"history(-{WHOLE})", "History: from the beginning", id="run.history.start", show=False),
        Binding("greater_than_sign", "live", "Live again", id="run.history.live", show=False),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.moment: Moment | None = None
        """The moment of its history that is shown; None while the run is shown as it is."""
        self._playback = Playback(folder)
        self._outdated = False
        """Whether the view has gathered events that come after those it is to show."""
        self._taken = -1

    @work(thread=True, group="history", exclusive=True)
    def action_history(self, by: int) -> None:
        """Show the run as it was some steps before or after what is shown; after the last event it is live again."""
        moment = self._playback.step(self.moment.offset if self.moment is not None else None, by)
        self.tell(self._go_to, moment if by < 0 or not moment.last else None)

    def action_live(self) -> None:
        """Show the run as it is."""
        self._go_to(None)

    def action_back(self) -> None:
        if self.moment is not None:
            self.action_live()
        else:
            super().action_back()

    def _go_to(self, moment: Moment | None) -> None:
        if moment is None and self.moment is None:
            return
        before, self.moment = self.moment, moment
        self._outdated |= moment is not None and (before is None or moment.offset < before.offset)
        self.frozen_at, self._taken = None, -1
        self._touch()

    def status_then(self) -> Status:
        """The run's status at the moment that is shown."""
        moment = self.moment
        if moment is None:
            return self.status
        state = moment.state
        over = state.ending.state if state.ending is not None else "running"
        about = {"state": over, "updated": moment.when, "done": state.done, "total": state.total, "unit": state.unit, "exit": {}}
        return replace(self.status, **about, eta_seconds=state.eta_seconds)  # type: ignore[arg-type]

    def strip_then(self, facts: StripFacts) -> StripFacts:
        """What the strip says, marked as of the moment that is shown."""
        moment = self.moment
        if moment is None:
            return facts
        when = f" · {host.time_of_day(moment.when)}" if moment.when else ""
        badge = f" history {moment.share:.0%}{when} · , back  . on  > live ".replace("%", " %")
        return replace(facts, badge=badge, badge_colour="accent", badge_loud=True)


def cursor_of(view: RunView) -> Cursor:
    """Where the cursors of a view's first grid and first table are."""
    grid, table = next(iter(view.query(Heatmap)), None), next(iter(view.query(ListTable)), None)
    return (grid.row, grid.column) if grid is not None else None, table.key if table is not None else None


def put_cursor(view: RunView, cursor: Cursor) -> None:
    """Put a view's cursors where those of another one were."""
    place, key = cursor
    grid, table = next(iter(view.query(Heatmap)), None), next(iter(view.query(ListTable)), None)
    if grid is not None and place is not None and grid.grid.rows:
        grid.move_to(*place)
    if table is not None and key is not None:
        table.move_to(key)
