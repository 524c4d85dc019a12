"""The keys that steer one run: pause, stop, resume, checkpoint, kill, export, and opening it as a template."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from interp_tui.export.beside import export
from interp_tui.runs import session
from interp_tui.terminal import host
from interp_tui.text.sanitise import clean
from interp_tui_engine.runfolder import Command, RunFolder, Status

from .base import WorkScreen
from .confirm import ConfirmScreen


class SteeringScreen(WorkScreen):
    """A screen on one run. `status` is the run's as last read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="run.pause"),
        Binding("x", "stop", "Stop", id="run.stop"),
        Binding("r", "resume", "Resume", id="run.resume"),
        Binding("e", "export", "Export", id="run.export"),
        Binding("t", "template", "Template", id="run.template", show=False),
        Binding("w", "checkpoint", "Write a checkpoint now", id="run.checkpoint", show=False),
        Binding("K", "kill", "Kill", id="run.kill", show=False),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder
        self.status = Status()

    def send(self, command: Command) -> None:
        """Drop a command for the run."""
        self.do(partial(session.send, self.folder, command))

    def action_pause(self) -> None:
        self.send("resume" if self.status.state == "paused" else "pause")

    def action_checkpoint(self) -> None:
        self.send("checkpoint")
        self.notify("The run writes a checkpoint after its step.", markup=False)

    def action_stop(self) -> None:
        self._ask("stop", "It writes a checkpoint and ends; r goes on from there.")

    def action_kill(self) -> None:
        self._ask("kill", "Its worker ends at once; what came after the last checkpoint is lost.")

    def _ask(self, command: Command, consequence: str) -> None:
        run = clean(f"{self.status.kind} {self.status.name}, {self.status.state}", limit=70)
        question = ConfirmScreen(f"{command.capitalize()} this run?", (run, consequence), command)
        self.app.push_screen(question, partial(self._answered, command))

    def _answered(self, command: Command, yes: bool | None) -> None:
        if yes:
            self.send(command)

    def action_resume(self) -> None:
        self.do(partial(session.resume, self.folder), lambda _: self.notify("The run goes on.", markup=False))

    def action_export(self) -> None:
        self.do(partial(export, self.folder), self._exported)

    def _exported(self, paths: list[Path]) -> None:
        self.notify("\n".join(map(host.short_path, paths)), title="Exported", markup=False)

    def action_template(self) -> None:
        self.workbench.new_run(template=self.folder)
