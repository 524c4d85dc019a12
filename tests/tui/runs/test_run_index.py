"""The index of runs: it spares reading, and is never believed over the folders."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interp_tui.runs import run_index, session
from interp_tui.runs.run_index import FILE, FOLDER, RunIndex
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def many(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> list[RunFolder]:
    """Six ended runs and one that goes on; an index is worth it from three on."""
    monkeypatch.setattr(run_index, "WORTH", 3)
    made = [make_run(f"r{at}", age=100.0 * at, headline={"llc_mean": 1.0 + at}, exit={"code": 0}) for at in range(6)]
    return [*made, make_run("goes-on", state="running", age=1000.0)]


def listed(root: Path) -> list[session.Run]:
    """What a program that has just started lists."""
    return RunIndex(root).refresh()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    whole = session.read_run
    monkeypatch.setattr(session, "read_run", lambda folder: read.append(folder.path.name) or whole(folder))  # type: ignore[func-returns-value]
    return read


def test_a_program_that_starts_reads_only_what_goes_on(many: list[RunFolder], runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listed(runs_root)
    read = count_reads(monkeypatch)
    after = listed(runs_root)
    assert [run.status for run in after] == [run.status for run in before] and [run.started for run in after] == [
        run.started for run in before
    ]
    assert read == [many[-1].path.name]


def test_a_run_that_changed_is_read_again(many: list[RunFolder], runs_root: Path) -> None:
    folder = many[2]
    folder.write_status(folder.status())
    listed(runs_root)
    kept = (folder.path / "status.json").stat()
    folder.write_status(replace(folder.status(), headline={"llc_mean": 9.0}))
    os.utime(folder.path / "status.json", ns=(kept.st_atime_ns, kept.st_mtime_ns))  # a clock that stands still, and a text as long
    assert (folder.path / "status.json").stat().st_size == kept.st_size
    assert next(run for run in listed(runs_root) if run.folder == folder).status.headline == {"llc_mean": 9.0}


def test_runs_that_came_and_went(many: list[RunFolder], runs_root: Path, make_run: MakeRun) -> None:
    listed(runs_root)
    session.delete(many[0])
    make_run("new", age=1.0)
    assert {run.status.name for run in listed(runs_root)} == {"new", "r1", "r2", "r3", "r4", "r5", "goes-on"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 0, "runs": {}}',
        b'{"version": 1, "runs": []}',
        b"\xff\xfe",
        b'{"version": 1, "runs": {"%s": [1, 2]}}',
    ],
)
def test_a_damaged_index_costs_nothing(many: list[RunFolder], runs_root: Path, content: bytes) -> None:
    before = listed(runs_root)
    path = runs_root / FOLDER / FILE
    path.write_bytes(content.replace(b"%s", many[0].path.name.encode()))
    assert [run.status for run in listed(runs_root)] == [run.status for run in before]
    assert len(json.loads(path.read_text())["runs"]) == 6, "it is written anew"


def test_an_entry_of_another_run_is_not_believed(many: list[RunFolder], runs_root: Path) -> None:
    listed(runs_root)
    path = runs_root / FOLDER / FILE
    value = json.loads(path.read_text())
    for entry in value["runs"].values():
        entry[0] += 1
        entry[3]["name"] = "forged"
    path.write_text(json.dumps(value))
    assert all(run.status.name != "forged" for run in listed(runs_root))


def test_a_start_beyond_all_numbers_is_none(many: list[RunFolder], runs_root: Path) -> None:
    before = listed(runs_root)
    path = runs_root / FOLDER / FILE
    value = json.loads(path.read_text())
    for entry in value["runs"].values():
        entry[4] = 10**400
    path.write_text(json.dumps(value))
    assert {run.key for run in listed(runs_root)} == {run.key for run in before}


def test_a_folder_that_cannot_be_written_is_listed(many: list[RunFolder], runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    assert len(listed(runs_root)) == 7
    assert not (runs_root / FOLDER).exists()


def test_what_is_known_of_private_runs_is_private(many: list[RunFolder], runs_root: Path) -> None:
    listed(runs_root)
    assert (runs_root / FOLDER).stat().st_mode & 0o077 == 0
    assert all(run.key != FOLDER for run in listed(runs_root))


def test_several_processes_write_it_at_once(many: list[RunFolder], runs_root: Path) -> None:
    threads = [threading.Thread(target=listed, args=(runs_root,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((runs_root / FOLDER / FILE).read_text())["runs"]) == 6
    assert [path.name for path in (runs_root / FOLDER).iterdir()] == [FILE], "nothing is left beside it"


def test_few_runs_leave_no_index(make_run: MakeRun, runs_root: Path) -> None:
    make_run("alone")
    listed(runs_root)
    assert not (runs_root / FOLDER).exists()


def test_a_long_first_look_shows_the_newest_early(many: list[RunFolder], runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "EARLY", -1.0)
    early: list[list[session.Run]] = []
    index = RunIndex(runs_root)
    everything = index.refresh(early.append)
    assert len(early) == 1 and early[0] == everything[:1]
    index.refresh(early.append)
    assert len(early) == 1, "later looks have the former one to show"
