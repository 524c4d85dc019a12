"""Runs a kind where the test is, instead of in a worker: the same generator, the same folder."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

from interp_tui_engine import atomic, catalog, manifest, shards
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Context, Order
from interp_tui_engine.supervision.worker_pool import assignments_of

T = TypeVar("T")


def in_process(path: Path, tables: dict[str, Any], poll: Callable[[], Order] = lambda: "go") -> tuple[catalog.Result, list[Any]]:
    """Run the kind here, where a worker would; returns its result and its events. Resumes what is there."""
    folder = RunFolder(path) if path.exists() else RunFolder.create(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    request = manifest.resolve(tables)
    return to_its_end(catalog.get(request.kind).run(Context(request, folder, 0, poll, False)))


def shared_out(path: Path, tables: dict[str, Any], workers: int) -> tuple[catalog.Result, list[list[Any]]]:
    """Run the kind here as several workers on the CPU would, the last one first, and join them; events by worker, the joining one last."""
    compute = tables.get("compute", {}) | {"devices": ["cpu"] * workers}
    request = manifest.resolve(tables | {"compute": compute})
    kind, folder = catalog.get(request.kind), RunFolder(path) if path.exists() else RunFolder.create(path)
    assert kind.sharding is not None
    *dealt, join = shards.assign(folder, assignments_of(request))
    said: list[list[Any]] = []
    for shard, share in reversed(list(enumerate(dealt))):
        told, events = to_its_end(kind.sharding.work(Context(request, folder, shard, lambda: "go", False, share)))
        atomic.write_json(folder.shard(shard) / "exit.json", {"state": "done", "told": told})
        said.insert(0, events)
    joined = tuple(shards.gather(folder, len(dealt)))
    result, events = to_its_end(kind.run(Context(request, folder, len(dealt), lambda: "go", False, join, joined)))
    return result, [*said, events]


def to_its_end(events: Generator[Any, None, T]) -> tuple[T, list[Any]]:
    """What the generator returned, and what it yielded."""
    seen: list[Any] = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, seen
