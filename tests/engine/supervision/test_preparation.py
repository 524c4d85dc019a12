"""A run folder is there whole or not at all: killed or out of space at any step of its making, the same request can be made again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RESUMABLE, RunFolder, find_runs, is_free
from torture.steps import failing_at, killed_at

REQUEST = manifest.resolve({"kind": "certify", "params": {"cases": ["all"]}})


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_kill_at_any_step_leaves_a_whole_run_or_a_free_path(tmp_path: Path) -> None:
    supervisor.prepare(REQUEST, tmp_path / "first")  # what is looked up once per process is known from here on
    step = 0
    while killed_at(step, lambda path=tmp_path / f"run-{step}": supervisor.prepare(REQUEST, path)):
        path = tmp_path / f"run-{step}"
        if is_free(path):
            supervisor.prepare(REQUEST, path)
        assert RunFolder.open(path).status().state in RESUMABLE
        assert manifest.load(path) == REQUEST
        step += 1
    assert step > 8, "the steps were not counted"
    listed = {run.path.name for run in find_runs(tmp_path)}
    assert listed == {entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")}


def test_a_full_disk_at_any_step_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    supervisor.prepare(REQUEST, tmp_path / "first")
    step = 0
    while True:
        path = tmp_path / f"run-{step}"
        with failing_at(step, str(tmp_path), full) as failed:
            if not failed and step > 20:
                break
            try:
                supervisor.prepare(REQUEST, path)
                assert not failed
                break
            except UserError as error:
                assert "the disk is full" in error.what and "free some space" in error.hint
        assert {entry.name for entry in tmp_path.iterdir()} == {"first"}
        step += 1
    assert step >= 5


def test_folders_without_a_file_are_free(tmp_path: Path) -> None:
    path = tmp_path / "run"
    (path / "control").mkdir(parents=True)
    (path / "shards").mkdir()
    assert RunFolder.open(supervisor.prepare(REQUEST, path).path).manifest_path.is_file()
    with pytest.raises(UserError, match="output folder exists"):
        supervisor.prepare(REQUEST, path)


@pytest.mark.parametrize("kind", ["file", "folder with a file", "link to an empty folder", "broken link"])
def test_what_is_not_empty_is_never_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder with a file":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "mine").touch()
    elif kind == "broken link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        (tmp_path / "target").mkdir()
        path.symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="output folder exists"):
        supervisor.prepare(REQUEST, path)


def test_an_over_long_path_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot make the run folder"):
        supervisor.prepare(REQUEST, tmp_path / ("x" * 400))
    with pytest.raises(UserError, match="cannot make the run folder"):
        supervisor.prepare(REQUEST, tmp_path.joinpath(*["y" * 200] * 30))


def test_left_overs_of_a_kill_go_with_a_later_run(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.being-made", tmp_path / ".b.being-made"
    old.mkdir()
    young.mkdir()
    os.utime(old, (1, 1))
    supervisor.prepare(REQUEST, tmp_path / "run")
    assert not old.exists() and young.exists()
