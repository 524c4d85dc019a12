"""Runs a kind where the test is, instead of in a worker: the same generator, the same folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp_tui_engine import catalog, manifest
from interp_tui_engine.experiments.context import Context, Order
from interp_tui_engine.runfolder import RunFolder


def in_process(path: Path, tables: dict[str, Any], poll: Callable[[], Order] = lambda: "go") -> tuple[catalog.Result, list[Any]]:
    """Run the kind here, where a worker would; returns its result and its events. Resumes what is there."""
    folder = RunFolder(path) if path.exists() else RunFolder.create(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    request = manifest.resolve(tables)
    events, seen = catalog.get(request.kind).run(Context(request, folder, 0, poll, False)), []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, seen
