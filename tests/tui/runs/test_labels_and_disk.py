"""What users keep of runs for themselves, and what runs take on disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli

from interp_tui.runs import disk, labels
from interp_tui.runs.filters import asks_for_archived, compile_filter
from interp_tui.runs.labels import Labels
from interp_tui.runs.run_index import RunIndex
from interp_tui.runs.session import Run
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]


def only(root: Path) -> Run:
    (run,) = RunIndex(root).refresh()
    return run


def test_labels_come_and_go_with_the_folder(make_run: MakeRun, runs_root: Path) -> None:
    folder = make_run("a")
    index = RunIndex(runs_root)
    assert index.refresh()[0].labels == labels.NONE
    kept = Labels(("paper", "seed-2"), "compare with the old one", archived=True)
    labels.write(folder, kept)
    assert index.refresh()[0].labels == kept == only(runs_root).labels
    labels.write(folder, labels.NONE)
    assert index.refresh()[0].labels == labels.NONE and not (folder.path / labels.FILE).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tags": 3, "note": [], "archived": 1}', '{"tags": [1, null]}'])
def test_damaged_labels_are_none(make_run: MakeRun, text: str) -> None:
    folder = make_run("a")
    (folder.path / labels.FILE).write_text(text)
    assert labels.read(folder) == labels.NONE


def test_hostile_labels_show_as_text(make_run: MakeRun) -> None:
    folder = make_run("a")
    (folder.path / labels.FILE).write_text('{"tags": ["\\u001b[31m"], "note": "\\u001b]52;c;x\\u0007"}')
    kept = labels.read(folder)
    assert kept.note.isprintable() and all(tag.isprintable() for tag in kept.tags)


def test_typed_tags() -> None:
    assert labels.typed_tags("#paper, seed-2  paper") == ("paper", "seed-2")
    with pytest.raises(UserError, match="is no tag"):
        labels.typed_tags("paper a*b")


def test_filters_know_labels(make_run: MakeRun, runs_root: Path) -> None:
    labels.write(make_run("a"), Labels(("paper",), "the odd one"))
    run = only(runs_root)
    for text, met in (("tag = paper", True), ("tag = #Paper", True), ("tag = pap", False), ("tag ~ pap", True), ("note ~ ODD", True),
                      ("#paper", True), ("tag != paper", False), ("archived = yes", False), ("archived", False)):  # fmt: skip
        assert compile_filter(text, set())(run) is met, text
    assert asks_for_archived("kind = llc & archived = yes") and not asks_for_archived("name = unarchived-things")


def test_the_command_line_labels_and_lists(make_run: MakeRun, cli: Cli) -> None:
    make_run("first"), make_run("second")
    assert "#paper #good" in cli("label", "first", "--tag", "paper", "--tag", "good", "--note", "see figure 2").out
    assert cli("label", "first", "--untag", "good").out.strip() == "#paper see figure 2"
    assert "first" in cli("list", "--tag", "paper").out and "second" not in cli("list", "--tag", "paper").out
    cli("label", "first", "--archive")
    assert "first" not in cli("list").out and "first" in cli("list", "--archived").out
    cli("label", "first", "--unarchive")
    assert "first" in cli("list").out


# -- disk


def sized(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * count)


def with_stores(make_run: MakeRun, name: str = "a", **about: Any) -> RunFolder:
    folder = make_run(name, result={"llc_mean": 1.0}, **about)
    sized(folder.path / "samples.zarr" / "loss" / "c0", 5000)
    sized(folder.path / "shards" / "0" / "checkpoint" / "state", 700)
    sized(folder.path / "figures" / "a.svg", 30)
    return folder


def test_pruning_keeps_the_result_and_says_what_went(make_run: MakeRun) -> None:
    folder = with_stores(make_run)
    used = disk.usage(folder)
    assert used.stores == 5700 and used.total > 5730
    assert disk.prune(folder) == 5700
    assert not (folder.path / "samples.zarr").exists() and not (folder.path / "shards" / "0" / "checkpoint").exists()
    assert folder.result() == {"llc_mean": 1.0} and (folder.path / "figures" / "a.svg").exists() and folder.events_path.exists()
    note = disk.pruned(folder)
    assert note is not None and note.bytes == 5700 and note.paths == ("samples.zarr", "shards/0/checkpoint")
    assert disk.prune(folder) == 0 and disk.pruned(folder) == note


@pytest.mark.parametrize("state", ["running", "interrupted", "crashed", "failed"])
def test_what_can_still_go_on_is_not_pruned(make_run: MakeRun, state: str) -> None:
    folder = with_stores(make_run, state=state)
    with pytest.raises(UserError, match="only runs that are done"):
        disk.prune(folder)
    assert (folder.path / "samples.zarr").exists()


def test_arrays_that_are_the_result_stay(make_run: MakeRun) -> None:
    assert disk.prune(with_stores(make_run, kind="activations")) == 0


def test_links_are_not_followed(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("a", result={})
    sized(tmp_path / "elsewhere" / "file", 9000)
    (folder.path / "samples.zarr").symlink_to(tmp_path / "elsewhere")
    assert disk.prune(folder) == 0 and (tmp_path / "elsewhere" / "file").exists() and disk.usage(folder).total < 9000
    sized(tmp_path / "other" / "0" / "checkpoint" / "chain", 9000)
    shutil.rmtree(folder.path / "shards")
    (folder.path / "shards").symlink_to(tmp_path / "other")
    assert disk.prune(folder) == 0 and (tmp_path / "other" / "0" / "checkpoint" / "chain").exists()


def test_gc_shows_asks_and_drops(make_run: MakeRun, runs_root: Path, cli: Cli) -> None:
    folder, fresh = with_stores(make_run, "old", age=40 * 86400.0), with_stores(make_run, "new", age=60.0)
    half = runs_root / ".deleted-20260101-000000-llc-x"
    sized(half / "file", 100)
    hours_ago = time.time() - 7200
    os.utime(half, (hours_ago, hours_ago))
    shown = cli("gc")
    assert "2 runs" in shown.out and "5.7 kB" in shown.out and (folder.path / "samples.zarr").exists()
    refused = cli("gc", "--prune")
    assert refused.code == 2 and "give --yes" in refused.err
    assert "5.8 kB freed" in cli("gc", "--prune", "--older", "7d", "--yes").err
    assert not (folder.path / "samples.zarr").exists() and (fresh.path / "samples.zarr").exists() and not half.exists()
    assert "such as 12h" in cli("gc", "--older", "soon").err
