"""Supervises a pipeline: a child run for each of its steps, started when the steps it reads from are done. Torch-free.

    <pipeline folder>/steps/<id>/       run folders like any other: they can be opened, exported, compared

A pipeline that was stopped or killed goes on where it was: steps that are done are not run again. With a file `reuse.json` in its folder,
a step that an earlier pipeline has run, with the same request, inputs, code and versions, is taken over from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, final

from .. import atomic, manifest, pipeline, resource_use
from ..errors import UserError
from ..events import ChainFailed, Metrics, Phase, Progress, RunStarted, Stamped, Warned
from ..manifest import Manifest
from ..payload import LEFT_OUT
from ..pipeline import KIND, StepSpec
from ..results.pipeline import FoundTogether, PipelineHeadline, PipelineResult, StepCase
from ..runfolder import RunFolder, State, Status, take_commands
from ..validation_errors import nearest
from . import step_cache
from .child_runs import ChildRuns, digests_of, fraction_of, interrupted_with, status_of
from .exit_record import RESUME
from .pipeline_findings import findings
from .pipeline_report import markdown
from .run_recorder import RunRecorder

TOLD_EVERY = 0.5
"""Seconds between two events that tell how far the running steps are."""


@dataclass
class Step:
    """One step: what it asks for, where it runs, and how it stands."""

    index: int
    spec: StepSpec
    folder: RunFolder
    tables: dict[str, Any]
    status: Status = field(default_factory=Status)
    reused: str = ""
    """The run that it was taken over from."""

    def row(self) -> StepCase:
        """The step as result.json and the log hold it."""
        status, now = self.status, time.time()
        ran = (now if status.state in ("running", "paused", "stopping") else status.updated) - status.started if status.started else None
        return StepCase(
            index=self.index,
            id=self.spec.id,
            kind=self.spec.kind,
            state=status.state,
            folder=f"steps/{self.spec.id}",
            headline=dict(status.headline),
            fraction=1.0 if status.state == "done" else round(fraction_of(status), 3),
            seconds=None if ran is None else round(ran, 1),
            needs=tuple(pipeline.needs_of(self.spec)),
            reused=self.reused,
            reason=str(status.exit.get("reason") or ""),
        )


@final
class PipelineSupervisor:
    """One supervised pipeline."""

    def __init__(self, recorder: RunRecorder, children: ChildRuns[int]) -> None:
        self.recorder = recorder
        self.folder = recorder.folder
        self.request: Manifest = recorder.request
        mother, root = self.request.to_dict(), self.folder.path / "steps"
        specs = self.request.step
        self.steps = [Step(i, spec, RunFolder(root / spec.id), pipeline.tables_of(mother, spec)) for i, spec in enumerate(specs)]
        self.by_id = {step.spec.id: step for step in self.steps}
        self.cache = step_cache.StepCache(self.folder.path, {step.spec.id: step.tables for step in self.steps})
        self.children = children
        self._said: SimpleQueue[Warned] = SimpleQueue()
        self._told: dict[int, Mapping[str, Any]] = {}
        self._next_telling = 0.0

    def run(self) -> Status:
        """Run it to its end. Returns the last status."""
        take_commands(self.folder.control)
        self.recorder.write_status(force=True)
        self.recorder.note(RunStarted(KIND, self.request.name, resumed=self.recorder.log.seq > 0))
        self.cache.note()
        for step in self.steps:
            step.status = status_of(step.folder)
            step.reused = self.cache.taken_from(step.folder)
        return self.children.attend(self._loop) or self._finish()

    def _loop(self) -> None:
        waiting = [step for step in self.steps if step.status.state != "done"]
        for step in waiting:
            step.status = replace(step.status, state="queued", exit={})
        self._tell(force=True)
        failed = False
        while self.children.running or (waiting and not failed and not self.children.stopping):
            if not failed and not self.children.stopping and not self.children.paused:
                waiting = self._start(waiting)
            if (ended := self.children.ended()) is not None:
                index, status = ended
                self.steps[index].status = status
                failed |= status.state != "done"
                self._tell(force=True)
            self._tell()
            if waiting:
                self.children.get_ready(waiting[0].spec.kind, [step.status for step in self.steps if step.index in self.children.running])
            self.recorder.write_status()
            self.children.obey()
            if not self.children.running and not any(self._ready(step) for step in waiting):
                failed |= bool(waiting)

    def _ready(self, step: Step) -> bool:
        return all(self.by_id[name].status.state == "done" for name in pipeline.needs_of(step.spec))

    def _start(self, waiting: list[Step]) -> list[Step]:
        """Start the steps there is room for; returns those still waiting."""
        left = []
        for step in waiting:
            if len(self.children.running) >= self.request.params.side_by_side or not self._ready(step):
                left.append(step)
            elif not step.folder.manifest_path.exists() and (source := self.cache.take(step.spec.id, step.folder)):
                step.status, step.reused = status_of(step.folder), source
                self.recorder.note(Phase(f"step {step.spec.id}", f"as {source} has it"))
                self._tell(force=True)
            else:
                step.status = replace(step.status, state="running")
                self.recorder.note(Phase(f"step {step.spec.id}", step.spec.kind))
                self.children.start(step.index, step.folder, partial(self._request, step), self._listener(step))
        return left

    def _request(self, step: Step) -> Manifest:
        """The step's manifest with every reference filled in. Raises UserError where it cannot be, naming the step."""
        try:
            return manifest.resolve(pipeline.filled(step.tables, self._known), source=f"step {step.spec.id}")
        except UserError as error:
            raise UserError(f"step {step.spec.id}: {error.what}", error.hint) from None

    def _known(self, name: str, key: str | None) -> str:
        """What `${name}` or `${name.key}` stands for. Raises UserError for a key that the step's result does not have."""
        folder = self.by_id[name].folder
        if key is None:
            return str(folder.path)
        value: Any = folder.result()
        for part in key.split("."):
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                names = [str(inner) for inner in value] if isinstance(value, Mapping) else []
                guess = nearest(part, names)
                hint = f"did you mean {guess!r}?" if guess else f"there are {', '.join(names[:20]) or 'none'}"
                raise UserError(f"${{{name}.{key}}}: the result of step {name!r} has no {part!r}", hint)
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise UserError(f"${{{name}.{key}}} is no text or number in the result of step {name!r}", "name a key that holds one")
        place = folder.path / str(value)
        return str(place) if isinstance(value, str) and value and place.exists() else str(value)

    def _listener(self, step: Step) -> Any:
        """Passes on what a user should know of a step while it runs; called on the step's own thread."""

        def listen(stamped: Stamped) -> None:
            match stamped.event:
                case Warned(message):
                    self._said.put(Warned(f"{step.spec.id}: {message}"))
                case ChainFailed(chain, at, cause):
                    self._said.put(Warned(f"{step.spec.id}: chain {chain} failed at step {at}: {cause}"))

        return listen

    def _tell(self, *, force: bool = False) -> None:
        """Into the log: warnings of the steps, every step that has changed, how far the whole is."""
        while not self._said.empty():
            self.recorder.note(self._said.get())
        if not force and time.monotonic() < self._next_telling:
            return
        self._next_telling = time.monotonic() + TOLD_EVERY
        for index in self.children.running:
            status = self.children.status(index)
            self.steps[index].status = status if status.state != "queued" else replace(status, state="running")
        for step in self.steps:
            row = step.row().as_json()
            last_row = self._told.get(step.index, {})
            if any(row[key] != last_row.get(key) for key in ("state", "fraction", "headline", "reused", "reason")):
                self._told[step.index] = row
                self.recorder.note(Metrics("case", step.index, row))
        done = sum(1.0 if step.status.state == "done" else fraction_of(step.status) for step in self.steps)
        if (now := round(done, 2)) != self.recorder.status.done or not self.recorder.status.total:
            self.recorder.note(Progress(now, len(self.steps), "steps", None))
        running = ", ".join(self.steps[index].spec.id for index in sorted(self.children.running))
        done_steps = sum(step.status.state == "done" for step in self.steps)
        headline = PipelineHeadline(steps=len(self.steps), done=done_steps, running=running or LEFT_OUT).as_json()
        if headline != self.recorder.status.headline:
            self.recorder.note(Metrics("headline", 0, headline))

    def _finish(self) -> Status:
        self._tell(force=True)
        steps = [step.row() for step in self.steps]
        done = [step for step in self.steps if step.status.state == "done"]
        joint = findings([(step.spec.id, step.spec.kind, step.folder.result() or {}) for step in done])
        if joint.sentences:
            self.recorder.note(Metrics("found", 0, FoundTogether(**joint.values, sentences=tuple(joint.sentences)).as_json()))
        seconds = time.time() - self.recorder.started
        state, exit_info = self._ending()
        self.recorder.provenance |= {"cluster": dict(placed)} if (placed := self.children.places()) else {}
        values = PipelineResult(
            kind=KIND,
            name=self.request.name,
            schema_version=1,
            **joint.headline,
            steps=tuple(steps),
            **joint.values,
            sentences=tuple(joint.sentences),
            seconds=seconds,
        ).as_json()
        atomic.write_json(self.folder.result_path, values)
        atomic.write_text(self.folder.report_path, markdown(self.folder.path, self.request, values["steps"], joint))
        how_far = PipelineHeadline(steps=len(steps), done=len(done))
        headline = dict(joint.headline) if state == "done" and joint.headline else how_far.as_json()
        folders = [step.folder for step in done]
        memory = resource_use.of_children(folders, 1)
        self.recorder.finish(state, exit_info, headline, dict(digests_of(self.folder, folders)), seconds, memory)
        return self.recorder.status

    def _ending(self) -> tuple[State, dict[str, Any]]:
        """How the pipeline ended whose steps ended so."""
        by_state: dict[str, list[Step]] = {}
        for step in self.steps:
            by_state.setdefault(step.status.state, []).append(step)
        if len(by_state.get("done", [])) == len(self.steps):
            return "done", {"code": 0}
        for state in ("failed", "crashed"):
            if state in by_state and not (self.children.stopping and state == "crashed"):
                step = by_state[state][0]
                exit_of_step = step.status.exit
                exit_info = {"code": 1, "reason": _with_step(step.spec.id, state, str(exit_of_step.get("reason") or "no reason given"))}
                exit_info["advice"] = exit_of_step.get("advice") or RESUME
                return "failed", exit_info | ({"bad_input": True} if exit_of_step.get("bad_input") else {})
        return interrupted_with(len(self.steps) - len(by_state.get("done", [])), "steps")


def _with_step(name: str, state: str, reason: str) -> str:
    return reason if reason.startswith(f"step {name}: ") else f"step {name} {state}: {reason}"
