"""A cluster that answers as Slurm does, and runs its tasks here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.fake_slurm import Cluster, install
from interp_tui_engine.supervision.executors import shared_folder, slurm


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = install(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("INTERP_TUI_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    shared_folder.remember(tmp_path, None)  # no probe goes before the tasks that tests count
    monkeypatch.setattr(slurm, "POLL", 0.2)
    monkeypatch.setattr(slurm.SlurmExecutor, "tick", 0.05)
    yield made
    made.end()
