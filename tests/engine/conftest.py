"""Torch keeps to one thread, but for what a test sets itself; and runs whose workers are scripts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted_workers
import torch

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """For a module, so that its shared runs have it too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> scripted_workers.Script:
    """Makes a run folder, or takes the one there is, whose workers are the given script; of the module's REQUEST unless told otherwise."""
    prelude = scripted_workers.PRELUDE + getattr(request.module, "PRELUDE", "")
    monkeypatch.setattr(supervisor, "worker_command", scripted_workers.command(tmp_path / "worker.py"))

    def make(body: str, text: str | None = None, name: str = "run") -> RunFolder:
        (tmp_path / "worker.py").write_text(prelude + textwrap.dedent(body))
        path = tmp_path / "runs" / name
        asked = manifest.parse(request.module.REQUEST if text is None else text) if not path.exists() else None
        return supervisor.prepare(asked, path) if asked else RunFolder(path)

    return make
