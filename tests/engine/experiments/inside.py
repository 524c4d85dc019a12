"""Run a kind inside the test's own process: the same generator that a worker drives, without the seconds a process takes to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from interp_tui_engine import catalog
from interp_tui_engine import manifest as manifests
from interp_tui_engine.catalog import Result
from interp_tui_engine.events import Event
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Context, Order


class Ended(NamedTuple):
    result: Result
    events: list[Event]
    folder: RunFolder


def run_inside(
    kind: str, params: Mapping[str, Any], path: Path, *, poll: Callable[[], Order] = lambda: "go", cut: int | None = None, **tables: Any
) -> Ended | None:
    """The result and events of a run of builtin:tiny (or of what `tables` say); None if it was `cut` after so many events, as by a kill."""
    request = {"kind": kind, "name": "test", "model": {"source": "builtin:tiny", "device": "cpu"}, "params": dict(params), **tables}
    request = {key: value for key, value in request.items() if value is not None}
    folder = RunFolder(path) if path.exists() else RunFolder.create(path)
    context = Context(manifests.resolve(request, base=path.parent), folder, 0, poll, resumed=(path / "shards" / "0").exists())
    events: list[Event] = []
    running = catalog.get(kind).run(context)
    while cut is None or len(events) < cut:
        try:
            events.append(next(running))
        except StopIteration as end:
            return Ended(end.value, events, folder)
    running.close()
    return None
