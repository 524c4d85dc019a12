"""`interp-tui queue`: what is added, shown, moved and taken out, and what is wrong with what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import MANIFEST, Cli, cli

from interp_tui_engine import run_queue
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(run_queue, "free_devices", list)


def test_runs_are_added_shown_moved_and_taken_out(cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(MANIFEST.replace('"tiny"', f'"{name}"', 1))
    added = cli("queue", "add", tmp_path / "a.toml", tmp_path / "b.toml", "--runs", tmp_path / "runs")
    assert added.code == 0 and len(added.out.splitlines()) == 2
    assert cli("queue", "move", "llc-b", 1).code == 0
    listed = cli("queue", "list")
    assert [line.split()[1][-5:] for line in listed.out.splitlines()] == ["llc-b", "llc-a"] and "2 runs wait" in listed.err
    assert cli("queue", "pause").code == 0 and "2 runs wait · the queue is paused" in cli("queue").err
    assert cli("queue", "remove", "llc-a").out.strip().endswith("llc-a")
    assert "1 run waits" in cli("queue", "list").err
    shown = cli("list", "--runs", tmp_path / "runs")
    assert shown.code == 0 and shown.out.count("queued") == 2


def test_what_runs_from_the_queue_is_listed_with_its_device(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text(MANIFEST)
    cli("queue", "add", tmp_path / "a.toml", "--runs", tmp_path / "runs")
    monkeypatch.setenv(run_queue.DEVICE, "3")
    with run_queue.device_held(RunFolder(tmp_path / "runs" / "going")):
        lines = cli("queue", "list").out.splitlines()
    assert lines[0].split()[:3] == ["on", "3", "going"] and lines[1].split()[0] == "1." and len(lines) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sort"], "queue sort: one of add, list, move"),
        (["move", "x"], "queue move RUN POSITION"),
        (["add"], "queue add M.toml"),
        (["remove", "nothing"], "'nothing' does not wait in the queue"),
        (["add", "missing.toml"], "no such manifest"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, words: list[str], said: str) -> None:
    answer = cli("queue", *words)
    assert answer.code == 2 and said in answer.err


def test_one_bad_manifest_adds_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(MANIFEST)
    (tmp_path / "b.toml").write_text(MANIFEST.replace("lr = 1e-4", "lr = -1.0"))
    answer = cli("queue", "add", tmp_path / "a.toml", tmp_path / "b.toml", "--runs", tmp_path / "runs")
    assert answer.code == 2 and not (tmp_path / "runs").exists() and run_queue.waiting() == []
