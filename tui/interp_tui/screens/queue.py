"""The queues: what waits and runs on this machine and in Slurm, why it waits, where it runs, what it logs, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from interp_tui.runs import queue_actions, queue_look, queue_rows
from interp_tui.runs.queue_look import QueueItem, QueueNow
from interp_tui.text.sanitise import clean
from interp_tui.widgets.list_table import ListTable

from .base import WorkScreen
from .confirm import ConfirmScreen

EVERY = 1.0
"""Seconds between looks; squeue and the driver are asked less often."""
ABOVE_LOG = 2
"""Lines of the lower part that are no log: its title and what stands first."""


class QueueScreen(WorkScreen):
    """Runs and tasks, one a row: those that go on first, then those that wait, in their order."""

    TITLE = "Queue"
    AUTO_FOCUS = "ListTable"
    CSS = """
    QueueScreen #queue { border-top: solid $rule; border-title-color: $foreground; border-title-style: bold; height: 1fr; }
    QueueScreen #queue-detail { border-top: solid $rule; border-title-color: $accent; height: 8; padding: 0 1; }
    QueueScreen.-tall #queue-detail { height: 16; }
    QueueScreen #queue-empty { padding: 1 3; height: 1fr; display: none; }
    QueueScreen.-empty #queue-empty { display: block; }
    QueueScreen.-empty ListTable, QueueScreen.-empty #queue-detail { display: none; }
    QueueScreen #queue-silent { height: auto; padding: 0 1; color: $warn; display: none; }
    .-ascii QueueScreen #queue, .-ascii QueueScreen #queue-detail { border-top: ascii $rule; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "hold", "Hold", id="queue.hold", tooltip="in Slurm; again to release"),
        Binding("R", "requeue", "Requeue", id="queue.requeue", key_display="R", tooltip="in Slurm; it goes on from its checkpoint"),
        Binding("x", "cancel", "Cancel", id="queue.cancel"),
        Binding("K,shift+up", "up", "Earlier", id="queue.up", key_display="K"),
        Binding("J,shift+down", "down", "Later", id="queue.down", key_display="J"),
        Binding("d", "remove", "Take out", id="queue.remove"),
        Binding("p", "pause", "Pause", id="queue.pause", tooltip="this machine's queue, or go on"),
        Binding("n", "new", "New run", id="queue.new", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.now: QueueNow | None = None
        self._items: dict[str, QueueItem] = {}
        self._log: tuple[str, list[str]] = ("", [])
        self._looking = False
        self._timer: Timer | None = None

    def body(self) -> ComposeResult:
        yield Static("", id="queue-silent")
        with Vertical(id="queue"):
            yield ListTable(queue_rows.COLUMNS)
            yield Static(Content("\n".join(queue_rows.NOTHING)), id="queue-empty")
        yield Static("", id="queue-detail")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.query_one("#queue").border_title = "Queue"
        self._timer = self.set_interval(EVERY, self.look)
        self.look()

    def on_screen_suspend(self) -> None:
        if self._timer:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        if self._timer:
            self._timer.resume()
            self.look()

    # -- what there is

    def look(self) -> None:
        """Look at the queues in a thread, unless the last look still goes on: a controller that is slow to answer delays rows, not keys."""
        if not self._looking and self.is_attached:
            self._looking = True
            self._look(self.current, self.query_one("#queue-detail").size.height)

    def look_again(self) -> None:
        self.look()

    @work(thread=True, group="look")
    def _look(self, item: QueueItem | None, room: int) -> None:
        try:
            now = self.workbench.queue.read(self.workbench.listed)
            item = next((seen for seen in now.items if item is None or seen.key == item.key), None)
            log = (item.key, queue_look.tail(item.logs, max(1, room - ABOVE_LOG - len(item.gpus)))) if item is not None else ("", [])
        finally:
            self._looking = False
        self.tell(self.show, now, log)

    def show(self, now: QueueNow, log: tuple[str, list[str]]) -> None:
        """Draw the queues as they stand."""
        if not self.is_attached:
            return
        self.now, self._log = now, log
        self._items = {item.key: item for item in sorted(now.items, key=lambda item: item.state in ("queued", "held"))}
        keys, items = list(self._items), list(self._items.values())
        ascii = self.workbench.ascii_mode
        table = self.query_one(ListTable)
        table.set_long(keys, lambda place: queue_rows.row(items[place], ascii=ascii), stay=True)
        if self.has_class("-empty") == bool(items):
            self.set_class(not items, "-empty")
            if items and self.focused is None:
                self.call_after_refresh(table.focus)
        self.query_one("#queue").border_title = queue_rows.title(now)
        silent = self.query_one("#queue-silent", Static)
        silent.display = bool(now.silent)
        silent.update(Content(clean(f"Slurm does not answer: {now.silent}", limit=max(40, self.size.width - 4)) if now.silent else ""))
        self._show_detail()
        self.refresh_bindings()

    # -- the one under the cursor

    @property
    def current(self) -> QueueItem | None:
        key = self.query_one(ListTable).key if self.is_mounted else None
        return self._items.get(key) if key else None

    @on(ListTable.Highlighted)
    def _moved(self) -> None:
        self._show_detail()
        self.refresh_bindings()
        self.look()

    @on(ListTable.Selected)
    def _open(self) -> None:
        if (item := self.current) is not None and item.folder is not None:
            self.workbench.open_run(item.folder, over=True)

    def _show_detail(self) -> None:
        item, part = self.current, self.query_one("#queue-detail", Static)
        part.border_title = Content(queue_rows.run_name(item.name) if item is not None else "")
        lines = self._log[1] if item is not None and self._log[0] == item.key else []
        part.update(queue_rows.detail(item, lines, ascii=self.workbench.ascii_mode))

    def copied(self) -> str:
        item = self.current
        return "" if item is None else item.job or str(item.folder.path if item.folder is not None else item.name)

    # -- what can be done to it

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that do nothing to the current row are greyed rather than gone, so that the footer stands still."""
        if action in ("hold", "requeue", "cancel", "up", "down", "remove"):
            return True if queue_actions.may(action, self.current) else None
        return True

    def _act(self, action: Callable[[QueueItem], Any]) -> None:
        if (item := self.current) is not None:
            self.do(partial(action, item), partial(self._acted, queue_rows.run_name(item.name)))

    def _acted(self, name: str, what: object) -> None:
        if isinstance(what, str):
            self.notify(name, title=what, markup=False)

    def action_hold(self) -> None:
        self._act(queue_actions.hold)

    def action_requeue(self) -> None:
        self._act(queue_actions.requeue)

    def action_cancel(self) -> None:
        item = self.current
        if item is None:
            return
        verb = "stop" if item.scheduler == "here" else "cancel"
        what = clean(" · ".join(filter(None, (queue_rows.run_name(item.name), item.task, item.job))), limit=70)
        details = (what, "It ends with a checkpoint where it has begun; resume goes on from there.")
        self.app.push_screen(ConfirmScreen(f"{verb.capitalize()} this?", details, verb), partial(self._cancel_answered, item))

    def _cancel_answered(self, item: QueueItem, yes: bool | None) -> None:
        if yes:
            self.do(partial(queue_actions.cancel, item), partial(self._acted, queue_rows.run_name(item.name)))

    def action_up(self) -> None:
        self._act(partial(queue_actions.move, by=-1))

    def action_down(self) -> None:
        self._act(partial(queue_actions.move, by=1))

    def action_remove(self) -> None:
        self._act(queue_actions.remove)

    def action_pause(self) -> None:
        on = not (self.now is not None and self.now.paused)
        sentence = "This machine's queue starts no more runs" if on else "The queue goes on"
        self.do(partial(queue_actions.pause, on), lambda _: self.notify("", title=sentence, markup=False))

    def action_new(self) -> None:
        self.workbench.new_run()
