"""Run a kind that reads only files in this process; a server on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from in_process import run_whole
from interp_tui_engine import atomic, catalog, manifest
from interp_tui_engine.events import Event
from interp_tui_engine.runfolder import RunFolder
from references.local_server import Server, serving

Run = Callable[..., tuple[catalog.Result, list[Event], RunFolder]]


@pytest.fixture
def run_kind(tmp_path: Path) -> Run:
    """Runs a kind as a worker does, without the process: `run_kind("inspect", criterion=…)`; `orders` answers its polls."""
    count = iter(range(1000))

    def run(
        kind: str,
        *,
        orders: Callable[[], Any] = lambda: "go",
        seed: int = 100,
        tables: Any = None,
        again: RunFolder | None = None,
        **params: Any,
    ) -> Any:
        request = manifest.resolve({"kind": kind, "name": "t", "seed": seed, "params": params, **(tables or {})}, base=tmp_path)
        folder = again or RunFolder.create(tmp_path / f"run-{next(count)}")
        atomic.write_text(folder.manifest_path, request.to_toml())
        result, events = run_whole(request, folder.path, poll=orders)
        atomic.write_json(folder.result_path, result.values)
        return result, events, folder

    return run


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server
