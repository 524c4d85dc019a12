"""Run a kind inside the tests' own process: the generator a worker drives, in the same folder, without the seconds a process takes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import pytest
from tests.stated_types import assert_as_stated

from interp_tui_engine import atomic, catalog, manifest, shards, supervisor
from interp_tui_engine.events import Event
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Context, Order
from interp_tui_engine.supervision.worker_pool import assignments_of

T = TypeVar("T")
Poll = Callable[[], Order]


class Ended(NamedTuple):
    result: catalog.Result
    events: list[Event]
    folder: RunFolder


def go() -> Order:
    """The order to go on."""
    return "go"


def stop_after(looks: int | None) -> Poll:
    """Orders to go on, then, after so many of them, to stop; never where that is None."""
    left = iter(range(10**9 if looks is None else looks))
    return lambda: "stop" if next(left, None) is None else "go"


def run_manifest(request: Manifest, path: Path, *, poll: Poll = go, cut: int | None = None) -> Ended | None:
    """Run what the manifest asks for in the folder at `path`, which is made or gone on with.

    None if it was `cut` after so many events, as by a kill.
    """
    folder = RunFolder(path) if path.exists() else RunFolder.create(path)
    resumed = folder.shard(0).exists()
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    kind = catalog.get(request.kind)
    running = kind.run(Context(request, folder, 0, poll, resumed))
    if cut is not None:
        for _ in range(cut):
            next(running)
        running.close()
        return None
    result, events = to_its_end(running)
    assert_as_stated(request.kind, result, events)
    return Ended(result, events, folder)


@contextmanager
def api_runs_here() -> Iterator[None]:
    """Inside, runs of the Python interface are made in this process."""

    def supervise(folder: RunFolder, on_event: Any) -> SimpleNamespace:
        ended = run_manifest(manifest.load(folder.manifest_path), folder.path)
        assert ended is not None
        atomic.write_json(folder.path / "result.json", ended.result.values)
        folder.report_path.write_text(ended.result.report, encoding="utf-8")
        return SimpleNamespace(state="done")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supervisor, "supervise", supervise)
        yield


def run_whole(request: Manifest, path: Path, *, poll: Poll = go) -> tuple[catalog.Result, list[Event]]:
    """The result and the events of `run_manifest`."""
    ended = run_manifest(request, path, poll=poll)
    assert ended is not None
    return ended.result, ended.events


def run_tables(tables: Mapping[str, Any], path: Path, *, poll: Poll = go) -> tuple[catalog.Result, list[Event]]:
    """`run_whole` of a manifest's tables."""
    return run_whole(manifest.resolve(tables), path, poll=poll)


def run_tiny(kind: str, params: Mapping[str, Any], path: Path, *, poll: Poll = go, cut: int | None = None, **tables: Any) -> Ended | None:
    """`run_manifest` of a kind on builtin:tiny, or on what `tables` say; files that params name lie beside the run's folder."""
    request = {"kind": kind, "name": "test", "model": {"source": "builtin:tiny", "device": "cpu"}, "params": dict(params), **tables}
    resolved = manifest.resolve({key: value for key, value in request.items() if value is not None}, base=path.parent)
    return run_manifest(resolved, path, poll=poll, cut=cut)


def run_shared_out(tables: Mapping[str, Any], path: Path, workers: int) -> tuple[catalog.Result, list[list[Any]]]:
    """Run the kind here as several workers on the CPU would, the last one first, and join them; events by worker, the joining one last."""
    compute = tables.get("compute", {}) | {"devices": ["cpu"] * workers}
    request = manifest.resolve({**tables, "compute": compute})
    kind, folder = catalog.get(request.kind), RunFolder(path) if path.exists() else RunFolder.create(path)
    assert kind.sharding is not None
    *dealt, join = shards.assign(folder, assignments_of(request))
    by_worker: list[list[Any]] = []
    for shard, share in reversed(list(enumerate(dealt))):
        told, events = to_its_end(kind.sharding.work(Context(request, folder, shard, go, False, share)))
        atomic.write_json(folder.shard(shard) / "exit.json", {"state": "done", "told": told})
        by_worker.insert(0, events)
    joined = tuple(shards.gather(folder, len(dealt)))
    result, events = to_its_end(kind.run(Context(request, folder, len(dealt), go, False, join, joined)))
    assert_as_stated(request.kind, result, [event for worker in (*by_worker, events) for event in worker])
    return result, [*by_worker, events]


def to_its_end(events: Generator[Any, None, T]) -> tuple[T, list[Any]]:
    """What the generator returned, and what it yielded."""
    seen: list[Any] = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, seen
