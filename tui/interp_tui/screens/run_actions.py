"""What can be done to runs from their list: to the one under the cursor, or to all that are marked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from interp_tui.runs import labels, session
from interp_tui.runs.preview import Preview
from interp_tui.runs.session import Run
from interp_tui.terminal import host
from interp_tui.text.sanitise import clean
from interp_tui_engine.runfolder import RunFolder

from .base import WorkScreen
from .confirm import ConfirmScreen

ACTIVE_ONLY = {"stop", "pause"}
ON_A_RUN = {"stop", "pause", "resume", "replay", "compare", "delete", "export", "template", "mark", "label", "archive"}
NAMED = 5
"""Runs that a question about several names."""


class RunActions(WorkScreen):
    """A screen that lists runs. `current` is the one under its cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="runs.new"),
        Binding("r", "resume", "Resume", id="runs.resume"),
        Binding("R", "replay", "Replay", id="runs.replay", key_display="R"),
        Binding("c", "compare", "Compare", id="runs.compare", tooltip="the marked runs and this one; without marks, it is marked"),
        Binding("m", "mark", "Mark, or take the mark away", id="runs.mark", show=False),
        Binding("p", "pause", "Pause, or go on", id="runs.pause", show=False),
        Binding("x", "stop", "Stop", id="runs.stop"),
        Binding("e", "export", "Export", id="runs.export", show=False),
        Binding("t", "template", "Template", id="runs.template", show=False),
        Binding("number_sign", "label", "Tags and a note", id="runs.label", key_display="#", show=False),
        Binding("a", "archive", "Archive, or take back", id="runs.archive", show=False),
        Binding("d", "delete", "Delete this run, or all that are marked", id="runs.delete", show=False),
        Binding("D", "disk", "What runs take on disk, and pruning", id="runs.disk", key_display="D", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, Run] | None = None
        self.marked: set[str] = set()
        self.previews: dict[str, tuple[tuple[str, float], Preview]] = {}

    @property
    def current(self) -> Run | None:
        raise NotImplementedError

    def show_rows(self) -> None:
        """Draw what is listed."""
        raise NotImplementedError

    @property
    def marked_runs(self) -> list[Run]:
        """Oldest first, as they were made."""
        return [run for run in reversed([*(self.runs or {}).values()]) if run.key in self.marked]

    def copied(self) -> str:
        return str(self.current.folder.path) if self.current is not None else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that do nothing to the current run are greyed rather than gone, so that the footer stands still."""
        if action not in ON_A_RUN:
            return True
        run = self.current if self.is_mounted else None
        if run is None or (action in ACTIVE_ONLY and not run.active) or (action == "resume" and not run.resumable):
            return None
        return None if action == "delete" and run.active else True

    def action_new(self) -> None:
        self.workbench.new_run()

    def action_template(self) -> None:
        if (run := self.current) is not None:
            self.workbench.new_run(template=run.folder)

    def action_resume(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(session.resume, run.folder), lambda folder: self.notify(clean(run.status.name), title="Goes on", markup=False))

    def action_replay(self) -> None:
        if (run := self.current) is None:
            return
        _, known = self.previews.get(run.key, (None, None))
        took = host.duration(known.seconds) if run.status.state == "done" and known is not None and known.seconds is not None else ""
        details = (
            clean(f"{run.status.kind} {run.status.name}", limit=70),
            "The same manifest runs again, as a new run" + (f"; this one took {took}." if took else "."),
        )
        self.app.push_screen(ConfirmScreen("Run this again?", details, "run again", "leave it"), partial(self._replay_answered, run))

    def _replay_answered(self, run: Run, yes: bool | None) -> None:
        if yes:
            self.do(partial(session.replay, run.folder, self.workbench.runs_root), lambda folder: self._started(folder))

    def _started(self, folder: RunFolder) -> None:
        self.notify(clean(folder.path.name), title="Started", markup=False)

    def action_pause(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(session.send, run.folder, "resume" if run.status.state == "paused" else "pause"))

    def action_stop(self) -> None:
        if (run := self.current) is not None:
            name = clean(run.status.name)
            self.do(
                partial(session.send, run.folder, "stop"),
                lambda _: self.notify(name, title="Stops at its next step, with a checkpoint", markup=False),
            )

    def action_export(self) -> None:
        if (run := self.current) is not None:
            self.do(partial(_export, run.folder), self._exported)

    def _exported(self, paths: Any) -> None:
        self.notify("\n".join(host.short_path(path) for path in paths), title="Exported", markup=False)

    def action_mark(self) -> None:
        if (run := self.current) is not None:
            self.marked ^= {run.key}
            self.show_rows()

    def action_compare(self) -> None:
        """Opens the marked runs beside the one under the cursor; where nothing else is marked, marks this one, or takes its mark away."""
        run = self.current
        if run is None or self.runs is None:
            return
        others = [other for other in self.marked_runs if other.key != run.key]
        self.marked = set() if others else self.marked ^ {run.key}
        self.show_rows()
        if others:
            from .compare import CompareScreen

            self.app.push_screen(CompareScreen(*(other.folder for other in others), run.folder))

    @property
    def _chosen(self) -> list[Run]:
        """The marked runs, or the one under the cursor."""
        return self.marked_runs or ([self.current] if self.current is not None else [])

    def action_archive(self) -> None:
        """Put the chosen runs away; where all of them are away already, take them back."""
        chosen = self._chosen
        away = not all(run.labels.archived for run in chosen)
        name = clean(chosen[0].status.name) if len(chosen) == 1 else f"{len(chosen):,} runs"
        title = "Archived; a filter with archived = yes shows them" if away else "Taken back"
        self.marked.clear()
        self.do(partial(_archive, chosen, away), lambda _: self.notify(name, title=title, markup=False))

    def action_label(self) -> None:
        if (run := self.current) is not None:
            from .label import LabelScreen

            self.app.push_screen(LabelScreen(clean(run.status.name, limit=60), run.labels), partial(self._labelled, run))

    def _labelled(self, run: Run, kept: labels.Labels | None) -> None:
        if kept is not None and kept != run.labels:
            self.do(partial(labels.write, run.folder, kept))

    def action_disk(self) -> None:
        from .disk import DiskScreen

        self.app.push_screen(DiskScreen())

    def action_delete(self) -> None:
        chosen = [run for run in self.marked_runs if not run.active] or ([self.current] if self.current is not None else [])
        if not chosen:
            return
        if len(chosen) == 1:
            (run,) = chosen
            details = [clean(f"{run.status.kind} {run.status.name}, {run.status.state}"), host.short_path(run.folder.path)]
            question = ConfirmScreen("Delete this run?", (*details, "Its folder is removed with everything in it."), "delete")
        else:
            names = [clean(f"{run.status.kind} {run.status.name}, {run.status.state}", limit=70) for run in chosen[:NAMED]]
            more = [f"and {len(chosen) - NAMED:,} more"] if len(chosen) > NAMED else []
            question = ConfirmScreen(
                f"Delete these {len(chosen):,} runs?", (*names, *more, "Their folders are removed with everything in them."), "delete"
            )
        self.app.push_screen(question, partial(self._delete_answered, chosen))

    def _delete_answered(self, chosen: list[Run], yes: bool | None) -> None:
        if yes:
            name = clean(chosen[0].status.name) if len(chosen) == 1 else f"{len(chosen):,} runs"
            self.do(partial(_delete, chosen), lambda _: self.notify(name, title="Deleted", markup=False))


def _archive(runs: list[Run], away: bool) -> None:
    for run in runs:
        labels.archive(run.folder, away)


def _delete(runs: list[Run]) -> None:
    for run in runs:
        session.delete(run.folder)


def _export(folder: RunFolder) -> list[Path]:
    from interp_tui.export.beside import export  # pages bring much along that the first paint needs nothing of

    return export(folder)
