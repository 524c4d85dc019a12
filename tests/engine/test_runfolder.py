"""The run folder: private, never overwritten, readable however damaged, and honest about runs whose process is gone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Phase, Progress, RunFinished, RunStarted, Unknown, Warned, from_line
from interp_tui_engine.runfolder import (
    SILENT_AFTER,
    EventLog,
    EventTail,
    Owner,
    RunFolder,
    State,
    Status,
    find_run,
    find_runs,
    new_run_path,
    runs_root,
    take_commands,
)

is_root = os.geteuid() == 0


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "runs" / "20260102-030405-llc-tiny")
    made.manifest_path.write_text('kind = "llc"\n')
    return made


# --- making and finding


def test_a_new_folder_is_private(folder: RunFolder) -> None:
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.control.stat().st_mode) == 0o700


def test_a_folder_is_never_overwritten(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="output folder exists"):
        RunFolder.create(folder.path)
    assert folder.manifest_path.read_text() == 'kind = "llc"\n'


@pytest.mark.skipif(is_root, reason="root may write anywhere")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot make the run folder"):
            RunFolder.create(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        RunFolder.create(tmp_path / "file" / "run")


@pytest.mark.parametrize("path", ["none", "x" * 5000, "a\0b", "~no-such-user/run"])
def test_opening_what_is_not_there(path: str) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        RunFolder.open(Path(path))


def test_opening_a_folder_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no manifest\.toml"):
        RunFolder.open(tmp_path)


@given(st.text())
def test_any_name_makes_a_path_of_one_part(name: str) -> None:
    path = new_run_path(Path("/r"), "llc", name, datetime(2026, 1, 2, 3, 4, 5))
    assert path.parent == Path("/r")
    assert path.name.startswith("20260102-030405-llc-")
    assert path.name.isascii() and path.name.isprintable() and len(path.name) < 100


def test_a_second_run_in_the_same_second_gets_its_own_path(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5)
    first = new_run_path(tmp_path, "llc", "x", now)
    first.mkdir()
    assert new_run_path(tmp_path, "llc", "x", now).name == f"{first.name}-2"


def test_root_is_the_argument_then_the_environment_then_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTERP_TUI_RUNS", raising=False)
    assert runs_root() == tmp_path / "runs"
    monkeypatch.setenv("INTERP_TUI_RUNS", "/elsewhere")
    assert runs_root() == Path("/elsewhere")
    assert runs_root(Path("given")) == tmp_path / "given"


def test_runs_are_found_newest_first_and_strangers_are_passed_over(folder: RunFolder) -> None:
    root = folder.path.parent
    newer = RunFolder.create(root / "20270102-030405-llc-tiny")
    newer.manifest_path.touch()
    (root / "not-a-run").mkdir()
    (root / "a-file").touch()
    grave = root / ".deleted-20260102-030405-llc-x"
    grave.mkdir()
    (grave / "manifest.toml").touch()
    assert find_runs(root) == [newer, folder]
    assert find_runs(root / "none") == []


def test_a_run_is_meant_by_path_manifest_name_or_part(folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = folder.path.parent
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)  # a folder here that is no run does not hide the run whose name holds "tiny"
    for text in (str(folder.path), str(folder.manifest_path), folder.path.name, "030405", "tiny"):
        assert find_run(root, text) == folder
    with pytest.raises(UserError, match="no run named"):
        find_run(root, "bif")
    for text in ("", "x" * 5000, "a\0b", "~no-such-user"):
        with pytest.raises(UserError):
            find_run(root, text)
    RunFolder.create(root / "20270102-030405-llc-tiny").manifest_path.touch()
    with pytest.raises(UserError, match="could be any of 2 runs"):
        find_run(root, "tiny")


# --- status


def owned(state: State, **changes: Any) -> Status:
    return replace(Status(state=state, kind="llc", name="tiny", owner=Owner.me(), updated=time.time()), **changes)


def test_status_comes_back(folder: RunFolder) -> None:
    status = owned("running", done=3.0, total=4.0, unit="draws", eta_seconds=1.5, headline={"llc_mean": 2.5}, worker_pid=7, started=1.0)
    folder.write_status(status)
    assert folder.status() == status


def test_status_json_has_the_documented_keys(folder: RunFolder) -> None:
    folder.write_status(owned("running"))
    record = json.loads((folder.path / "status.json").read_text())
    keys = {"state", "progress", "eta_seconds", "headline", "device", "pid", "worker_pid", "host", "boot_id", "started", "updated", "exit"}
    assert keys <= set(record)
    assert set(record["progress"]) == {"done", "total", "unit"}


@pytest.mark.parametrize("state", ["queued", "running", "paused", "stopping"])
def test_a_run_whose_owner_is_gone_has_crashed(folder: RunFolder, state: State) -> None:
    gone = replace(Owner.me(), created=1.0)
    for owner in (gone, replace(Owner.me(), boot_id="another boot"), replace(Owner.me(), pid=2**30), replace(Owner.me(), pid=-1)):
        folder.write_status(owned(state, owner=owner))
        assert folder.status().state == "crashed"
    folder.write_status(owned(state))
    assert folder.status().state == state


@pytest.mark.parametrize("state", ["done", "failed", "interrupted"])
def test_a_run_that_has_ended_needs_no_owner(folder: RunFolder, state: State) -> None:
    folder.write_status(owned(state, owner=replace(Owner.me(), pid=2**30)))
    assert folder.status().state == state


def test_a_run_of_another_host_is_alive_as_long_as_it_speaks(folder: RunFolder) -> None:
    elsewhere = replace(Owner.me(), host=f"not-{socket.gethostname()}")
    folder.write_status(owned("running", owner=elsewhere))
    assert folder.status().state == "running"
    folder.write_status(owned("running", owner=elsewhere, updated=time.time() - SILENT_AFTER - 1))
    assert folder.status().state == "crashed"


def test_a_host_whose_clock_is_ahead_is_gone_when_its_file_is_old(folder: RunFolder) -> None:
    elsewhere = replace(Owner.me(), host=f"not-{socket.gethostname()}")
    folder.write_status(owned("running", owner=elsewhere, updated=time.time() + 3600))
    assert folder.status().state == "running"
    old = time.time() - SILENT_AFTER - 1
    os.utime(folder.path / "status.json", (old, old))
    assert folder.status().state == "crashed"


def test_a_copy_of_a_run_that_goes_on_is_not_that_run(folder: RunFolder, tmp_path: Path) -> None:
    folder.write_status(owned("running", folder=str(folder.path)))
    shutil.copytree(folder.path, tmp_path / "copy")
    assert folder.status().state == "running"
    copied = RunFolder(tmp_path / "copy").status()
    assert copied.state == "crashed" and "a copy of a run" in copied.exit["reason"]
    (tmp_path / "link").symlink_to(folder.path)
    assert RunFolder(tmp_path / "link").status().state == "running"


def test_owner_is_this_process() -> None:
    me = Owner.me()
    assert me.alive() is True
    assert me.created == pytest.approx(psutil.Process().create_time())


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
KEYS = list(Status().to_json())


@settings(max_examples=60, deadline=None)
@given(st.one_of(JSON, st.dictionaries(st.sampled_from(KEYS), JSON)))
def test_any_json_reads_as_a_status(value: Any) -> None:
    status = Status.from_json(value)
    assert 0.0 <= status.fraction <= 1.0
    assert isinstance(status.headline, dict) and isinstance(status.exit, dict)
    if status.owner is not None:
        assert status.owner.alive() in (True, False, None)


def test_a_lost_status_is_recovered_from_the_log(folder: RunFolder) -> None:
    log = EventLog(folder.events_path)
    log.append(RunStarted("llc", "tiny", "cpu"))
    log.append(Progress(3, 4, "draws"))
    assert folder.status().state == "crashed"
    log.append(RunFinished("done", 2.0, {"llc_mean": 2.5}))
    for damage in (None, "", "\0" * 100, "[]", "{"):
        if damage is not None:
            (folder.path / "status.json").write_text(damage)
        status = folder.status()
        assert (status.state, status.kind, status.done, status.headline) == ("done", "llc", 3.0, {"llc_mean": 2.5})


def test_a_foreign_folder_has_a_status(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "none").status().state == "crashed"


def test_a_damaged_result_is_none(folder: RunFolder) -> None:
    assert folder.result() is None
    for text in ("{", "[]", "\0"):
        folder.result_path.write_text(text)
        assert folder.result() is None


# --- commands


def test_commands_are_taken_once_oldest_first(folder: RunFolder) -> None:
    folder.send("pause")
    folder.send("stop")
    os.utime(folder.control / "stop", (1, 1))
    (folder.control / "notes.txt").touch()
    assert folder.take_commands() == ["stop", "pause"]
    assert folder.take_commands() == []
    assert (folder.control / "notes.txt").exists()
    assert take_commands(folder.path / "none") == []


# --- the log


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(Phase("one"), shard=0, shard_seq=5)
    log.append(Phase("two"), shard=0, shard_seq=6)
    log.close()
    whole = path.read_bytes()
    for keep in range(len(whole)):
        path.write_bytes(whole[:keep])
        again = EventLog(path)
        lines = whole[:keep].count(b"\n")
        assert again.seq == lines
        assert again.copied == ({0: 4 + lines} if lines else {})
        again.append(Phase("next"))
        again.close()
        seqs = [from_line(line).seq for line in path.read_bytes().splitlines()]
        assert seqs == list(range(1, lines + 2))


def test_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for name in ("one", "two", "three"):
        log.append(Phase(name))
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    again = EventLog(path)
    assert again.append(Phase("four")).seq == 4
    assert [stamped.seq for stamped in EventTail(path).read()] == [1, 3, 4]


def test_a_full_disk_leaves_the_log_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(Phase("one"))
    before = path.read_bytes()
    real = log._file

    class Full:
        def tell(self) -> int:
            return real.tell()

        def write(self, data: bytes) -> None:
            real.write(data[:5])
            real.flush()
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            real.close()

    monkeypatch.setattr(log, "_file", Full())
    with pytest.raises(OSError, match="No space"):
        log.append(Phase("two"))
    assert path.read_bytes() == before
    assert log.append(Phase("two")).seq == 2
    assert [stamped.seq for stamped in EventTail(path).read()] == [1, 2]


def test_a_tail_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(Phase("one"))
    log.append(Phase("two"))
    whole = path.read_bytes()
    growing = tmp_path / "growing.jsonl"
    tail = EventTail(growing)
    assert list(tail.read()) == []
    seen = []
    for end in range(len(whole) + 1):
        growing.write_bytes(whole[:end])
        seen += list(tail.read())
    assert [stamped.seq for stamped in seen] == [1, 2]
    assert not tail.behind()


def test_a_tail_reads_in_time_boxed_chunks(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = b'{"v":1,"seq":1,"t":0,"type":"warning","message":"x"}\n'
    path.write_bytes(line * 1000)
    tail = EventTail(path)
    first = list(tail.read(seconds=0.0))
    assert 0 < len(first) < 1000
    assert tail.behind()
    rest = [stamped for _ in range(1000) for stamped in tail.read(seconds=0.0)]
    assert len(first) + len(rest) == 1000
    assert all(isinstance(stamped.event, Warned) for stamped in rest)


def test_a_tail_starts_over_when_the_log_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = b'{"v":1,"seq":1,"t":0,"type":"hologram"}\n'
    path.write_bytes(line * 3)
    tail = EventTail(path)
    assert len(list(tail.read())) == 3
    path.write_bytes(line)
    assert [type(stamped.event) for stamped in tail.read()] == [Unknown]
