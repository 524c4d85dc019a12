"""Files of others: whatever is in them costs a bounded time and memory, and is one kind of error."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from interp_tui_engine import manifest, untrusted
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.eventlog import EventLog, EventTail, last_events
from interp_tui_engine.events import Phase, from_line
from interp_tui_engine.runfolder import RunFolder

BRACKETS = "[" * 100_000
DEEP = '{"a":' * 500 + "1" + "}" * 500
DIGITS = "9" * 5000


@pytest.mark.parametrize("text", [BRACKETS, DEEP, DIGITS, f"[{DIGITS}]", "{", "", b"\xff\xfe\x00\xd8", "[" * 101 + "]" * 101])
def test_hostile_json_is_damaged(text: str | bytes) -> None:
    with pytest.raises(untrusted.Damaged):
        untrusted.parse_json(text)


def test_json_of_the_depth_that_is_allowed() -> None:
    assert untrusted.parse_json("[" * 100 + "]" * 100)
    wide = json.dumps([[[1, 2]] * 3] * 500)  # more brackets than levels are allowed
    assert untrusted.parse_json(wide) == json.loads(wide)


@pytest.mark.parametrize(
    "text", [f"a = {BRACKETS}", f"a = {DIGITS}", "a = [" * 300, ".".join("a" * 300) + " = 1", f"{'[a.' + 'a.' * 200}a]", "a = {b = " * 300]
)
def test_hostile_toml_is_said_as_a_problem_of_the_manifest(text: str) -> None:
    with pytest.raises(ManifestError, match="TOML"):
        manifest.parse(text)
    assert isinstance(manifest.override({}, [f"params.a={text.partition('=')[2]}"]), tuple)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", Path("/dev/zero"), tmp_path):
        with pytest.raises((untrusted.Damaged, OSError)):
            untrusted.read_bytes(path, 100)
    with pytest.raises(UserError, match="not a regular file"):
        manifest.load(tmp_path / "pipe.toml")
    (tmp_path / "large").write_bytes(b"x" * 101)
    with pytest.raises(untrusted.Damaged, match="larger"):
        untrusted.read_bytes(tmp_path / "large", 100)


@pytest.mark.parametrize("text", [BRACKETS, DEEP, DIGITS, '"text"', "[]", '{"progress": {"done": ' + "9" * 400 + "}}", "\x00"])
def test_a_foreign_folder_is_a_run_that_crashed(text: str, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"manifest.toml": 'kind = "llc"', "status.json": text, "result.json": text})
    assert folder.status().state == "crashed"
    assert folder.result() is None or isinstance(folder.result(), dict)


def test_deep_events_and_endless_lines_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError):
        from_line('{"v":1,"seq":1,"t":0,"type":"metrics","series":"a","step":0,"values":' + DEEP + "}")
    monkeypatch.setattr("interp_tui_engine.eventlog.MAX_EVENT", 1000)
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(Phase("one", ""))
    log.close()
    with path.open("ab") as file:
        file.write(b"x" * 5500 + b"\n")
    log = EventLog(path)
    assert log.seq == 1
    log.append(Phase("two", ""))
    log.close()
    with path.open("ab") as file:
        file.write(b"y" * 5500)
    tail = EventTail(path)
    assert [stamped.event for stamped in tail.read()] == [Phase("one", ""), Phase("two", "")]
    assert list(tail.read()) == [] and tail.behind()
    with path.open("ab") as file:
        file.write(b"\n")
    assert list(tail.read()) == [] and not tail.behind()
    assert len(EventLog(path).copied) == 0


def test_a_log_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    reader = threading.Thread(target=lambda: (list(EventTail(tmp_path / "events.jsonl").read()), last_events(tmp_path / "events.jsonl")))
    reader.daemon = True
    reader.start()
    reader.join(timeout=20)
    assert not reader.is_alive()
