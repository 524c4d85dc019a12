"""What a run took stands beside what was estimated, in its result, its report and where both are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp_tui.commands import text_render
from interp_tui.commands.compare import compare
from interp_tui.commands.runs import show
from interp_tui_engine import manifest, resource_use, supervisor
from interp_tui_engine.kind import Estimate
from interp_tui_engine.payload import ResultFile, Use, differences, read
from interp_tui_engine.runfolder import RunFolder

REQUEST = """
kind = "logit_lens"
name = "paris"
[model]
device = "cpu"
[params]
prompt = "The capital of France is"
answer = " Paris"
"""


def use_of(folder: RunFolder) -> Use:
    stored = (folder.result() or {})[resource_use.TABLE]
    assert not list(differences(Use, stored))
    return read(Use, stored)


def test_a_run_says_what_it_took_beside_what_was_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = supervisor.prepare(manifest.parse(REQUEST), tmp_path / "run")
    assert supervisor.supervise(folder).state == "done"
    use = use_of(folder)
    assert use.seconds and use.estimated_seconds and use.memory_bytes and use.estimated_memory_bytes
    assert 100 << 20 < use.memory_bytes < 4 << 30, "a process with torch in it"
    assert use.disk_bytes and 0 < use.disk_bytes - (folder.result_path.stat().st_size + folder.report_path.stat().st_size) < 1 << 20
    report = folder.report_path.read_text()
    assert report.count(resource_use.HEADING) == 1 and "MiB estimated" in report
    assert show(str(folder.path)) == 0
    assert "MiB estimated" in capsys.readouterr().out
    screen = "\n".join(text_render.lines(folder.path, "result", (100, 60), ascii=False))
    assert "estimated" in screen and "took.seconds" not in screen
    assert compare(str(folder.path), str(folder.path)) == 0
    assert "estimated_seconds" not in capsys.readouterr().out, "what a run took is no result to compare"


def test_children_that_run_together_are_added_up(tmp_path: Path) -> None:
    folders = []
    for index, size in enumerate((3, 1, 2)):
        folder = RunFolder.create(tmp_path / str(index), {"result.json": json.dumps({"took": {"memory_bytes": size << 20}})})
        folders.append(folder)
    assert resource_use.of_children(folders, 1) == 3 << 20
    assert resource_use.of_children(folders, 2) == 5 << 20
    assert resource_use.of_children([], 2) is None


def test_a_run_that_is_resumed_says_it_once(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"result.json": json.dumps({"kind": "x"}), "report.md": "# x\n"})
    for seconds in (10.0, 20.0):
        resource_use.write(folder, Estimate(8.0, 1 << 30, None), seconds, None, [5 << 30, 6 << 30])
    report = folder.report_path.read_text()
    assert report.startswith("# x\n") and report.count(resource_use.HEADING) == 1
    assert "- time: 20 s, 8 s estimated" in report and "- GPU memory: 6.0 GiB" in report and "- memory" not in report
    assert read(ResultFile, folder.result()).took.estimated_seconds == 8.0


@pytest.mark.parametrize("stored", [None, 3, {"seconds": "no"}, {"seconds": None, "memory_bytes": -1.5}])
def test_damage_is_passed_over(stored: object) -> None:
    assert resource_use.words(read(Use, stored)) == []
