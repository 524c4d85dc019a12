"""What the app does to runs, without a screen: list, start, resume, replay, steer, delete, export. No Textual here.

Everything may touch a slow disk or wait for a process, so screens call it from worker threads. Manifest and supervisor bring pydantic and
with it half of the time to the first paint, so they are imported where they are first used.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import ACTIVE, Command, RunFolder, Status, new_run_path

from .labels import NONE, Labels

if TYPE_CHECKING:
    from interp_tui_engine.manifest import Manifest

RUN_NAME = re.compile(r"\d{8}-\d{6}-(?P<kind>[a-z0-9_]+)-(?P<name>.+)")


@dataclass(frozen=True)
class Run:
    """One run as a listing shows it."""

    folder: RunFolder
    status: Status
    started: float
    labels: Labels = NONE

    @property
    def key(self) -> str:
        return self.folder.path.name

    @cached_property
    def words(self) -> str:
        """What a word of the filter is looked for in, in small letters. Kept: each letter typed asks all of ten thousand runs."""
        status, labels = self.status, self.labels
        texts = (status.state, status.kind, status.name, status.model, self.key, str(status.exit.get("reason", "")))
        return " ".join((*texts, *(f"#{tag}" for tag in labels.tags), labels.note, "archived" if labels.archived else "")).lower()

    @property
    def active(self) -> bool:
        return self.status.state in ACTIVE

    @property
    def resumable(self) -> bool:
        return self.status.resumable


def read_run(folder: RunFolder) -> Run:
    """The run as it is now. A folder whose status cannot be read is still listed, under what its name says."""
    status = folder.status()
    started = status.started or status.updated
    if not started:
        try:
            started = folder.manifest_path.stat().st_mtime
        except OSError:
            started = 0.0
    if not status.kind:
        match = RUN_NAME.fullmatch(folder.path.name)
        kind, name = (match["kind"], match["name"]) if match else ("?", folder.path.name)
        status = Status(**{**{f: getattr(status, f) for f in Status.__dataclass_fields__}, "kind": kind, "name": status.name or name})
    return Run(folder, status, started)


def listed_run(folder: RunFolder) -> Run:
    """`read_run` for a listing: one folder that cannot be read at all must not hide the others."""
    try:
        return read_run(folder)
    except Exception as fault:
        match = RUN_NAME.fullmatch(folder.path.name)
        kind, name = (match["kind"], match["name"]) if match else ("?", folder.path.name)
        reason = f"this folder cannot be read: {type(fault).__name__}"
        return Run(folder, Status(state="crashed", kind=kind, name=name, exit={"reason": reason, "advice": "a file in it is damaged"}), 0.0)


def result_damage(folder: RunFolder, result: Mapping[str, Any] | None) -> str:
    """What is wrong with a result.json that there is and that gave no `result`; empty where nothing is."""
    if result is not None or not folder.result_path.exists():
        return ""
    return "result.json cannot be read: it is not whole JSON, or not of this program; the numbers in the log and the report are untouched"


def tables(folder: RunFolder) -> dict[str, Any]:
    """The manifest's tables as they stand in the folder, recorded ones too. Raises UserError if it cannot be read."""
    try:
        return untrusted.read_toml(folder.manifest_path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder.manifest_path}: {error}") from None


def request_tables(folder: RunFolder) -> dict[str, Any]:
    """The part of the folder's manifest that a user writes: a template for a new run."""
    from interp_tui_engine.manifest import RECORDED

    return {key: value for key, value in tables(folder).items() if key not in RECORDED}


def start(request: Manifest, root: Path) -> RunFolder:
    """Start a run under `root`, detached, and return once its supervisor has confirmed. Raises UserError if it does not."""
    from interp_tui_engine import supervisor
    from interp_tui_engine.supervision import preflight

    preflight.check(request)
    folder = supervisor.prepare(request, new_run_path(root, request.kind, request.name))
    supervisor.launch(folder)
    return folder


def get_ready(request: Manifest) -> None:
    """Have the processes of such a run started ahead, where they run on this machine; they end if it is not started."""
    from interp_tui_engine import supervisor

    if request.model is not None and request.compute.executor == "local":
        supervisor.get_ready(request.kind)


def enqueue(request: Manifest, root: Path) -> RunFolder:
    """Make a run under `root` that waits for a free device of this machine; it is started at once if there is one and no other waits."""
    from interp_tui_engine import run_queue, supervisor
    from interp_tui_engine.supervision import preflight

    preflight.check(request)
    run_queue.need_one_device(request)
    folder = supervisor.prepare(request, new_run_path(root, request.kind, request.name))
    run_queue.add([folder])
    run_queue.advance(supervisor.launch)
    return folder


def resume(folder: RunFolder) -> RunFolder:
    """Go on with a run from its last checkpoint. Raises UserError when there is nothing to go on with."""
    from interp_tui_engine import manifest, supervisor

    status = folder.status()
    state = status.state
    if state == "paused" and not status.unsupervised:
        folder.send("resume")
        return folder
    if not status.resumable:
        raise UserError(f"{folder.path.name} is {state}", "only failed, interrupted or crashed runs resume; R runs a finished one again")
    manifest.load(folder.manifest_path)
    supervisor.launch(folder)
    return folder


def replay(folder: RunFolder, root: Path) -> RunFolder:
    """Run the folder's manifest again, as a new run."""
    from interp_tui_engine import manifest

    return start(manifest.load(folder.manifest_path), root)


def send(folder: RunFolder, command: Command) -> None:
    """Drop a command for a run that is going on. Raises UserError if it is not, or the folder cannot be written."""
    state = folder.status().state
    if state not in ACTIVE:
        raise UserError(f"{folder.path.name} is {state}", f"{command} needs a run that is going on")
    try:
        folder.send(command)
    except OSError as error:
        raise UserError(f"cannot write to {folder.control}: {error.strerror}") from None


def delete(folder: RunFolder) -> None:
    """Delete a run for good. Raises UserError for a run that is going on, and for a folder that is not plainly a run's own."""
    if folder.status().state in ACTIVE:
        raise UserError(f"{folder.path.name} is still going on", "stop it first (x)")
    if folder.path.is_symlink() or not folder.manifest_path.is_file():
        raise UserError(f"{folder.path} is not a run folder of its own", "remove it by hand")
    # renamed first: a folder half removed must not be listed as a run
    grave = folder.path.with_name(f".deleted-{folder.path.name}")
    try:
        folder.path.rename(grave)
        shutil.rmtree(grave)
    except OSError as error:
        raise UserError(f"cannot delete {folder.path}: {error.strerror}") from None


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys; lists of numbers or strings stay whole."""
    numbers: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            numbers |= flat(value, f"{path}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                numbers |= flat(item, f"{path}.{index}.")
        else:
            numbers[path] = value
    return numbers
