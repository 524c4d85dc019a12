"""A finished run of every kind, small and real, as its worker and supervisor leave it: what hard tests of the app look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interp_tui_engine import manifest, supervisor, worker
from interp_tui_engine.runfolder import RunFolder, Status

from .requests import kinds, small


def finished(kind: str, path: Path, params: Mapping[str, Any] | None = None) -> RunFolder:
    """A run of this kind in the folder `path`: a worker's work done in this process, its end recorded as a supervisor records it.

    params: what is asked for otherwise than by `small`.

    AssertionError where it fails. Not for pipelines, whose steps are runs of their own.
    """
    tables = small(kind)
    tables["params"] |= params or {}
    asked = manifest.resolve(tables)
    folder = supervisor.prepare(asked, path)
    worker.work(folder, 0)
    ended = json.loads((folder.shard(0) / "exit.json").read_text())
    assert ended["state"] == "done", ended
    shutil.copyfile(folder.shard(0) / "events.jsonl", folder.path / "events.jsonl")
    folder.write_status(Status(state="done", kind=asked.kind, name=asked.name, model="tiny", headline=ended["headline"], updated=0.0))
    return folder


def under(root: Path, names: Iterable[str] | None = None) -> list[RunFolder]:
    """A run of each of these kinds, or of all, under `root`; those that are there already are taken as they are."""
    folders = []
    for number, kind in enumerate(names or kinds()):
        path = root / f"20260921-{100000 + number}-{kind}-small"
        if not path.exists():
            half = root / f".making-{kind}"
            shutil.rmtree(half, ignore_errors=True)
            _made(kind, half).path.rename(path)
        folders.append(RunFolder(path))
    return folders


def _made(kind: str, path: Path) -> RunFolder:
    if kind != "pipeline":
        return finished(kind, path)
    folder = supervisor.prepare(manifest.resolve(small(kind)), path)
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    return folder
