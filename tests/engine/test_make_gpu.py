"""`make gpu` without a GPU: one line, and what of its work needs none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gpu import __main__ as script
from gpu import parts
from gpu.parts import Outcome

ABOUT = {"gpu": "Model A", "count": 1, "memory_gib": 80.0, "free_gib": 79.0, "torch": "x", "cuda": "y", "code_sha256": "z"}


def test_without_a_gpu_it_says_so_in_one_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["--out", str(tmp_path / "gpu")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "NVIDIA" in err and not (tmp_path / "gpu").exists()


def test_it_goes_on_where_it_was_and_passes_over_what_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []

    def part(name: str, *outcomes: Outcome) -> tuple[float, object]:
        answers = iter(outcomes)
        return 60.0, lambda folder, seconds: ran.append(name) or next(answers)  # type: ignore[func-returns-value]

    good = Outcome(True, 1.0, "a | note", {"launches": 12.5})
    some = {"one": part("one", good, good), "two": part("two", Outcome(False, 9.0, "slow", {}, cut_short=True), good)}
    monkeypatch.setattr(script, "PARTS", some)
    monkeypatch.setattr(script, "machine", lambda: ABOUT)
    assert script.main(["--out", str(tmp_path)]) == 1 and ran == ["one", "two"]
    assert script.main(["--out", str(tmp_path)]) == 0 and ran == ["one", "two", "two"]
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["machine"]["gpu"] == "Model A" and [part["held"] for part in kept["parts"].values()] == [True, True]
    report = (tmp_path / "report.md").read_text()
    assert "| one | yes | 1 | a / note |" in report and "| launches | 12.5 |" in report
    monkeypatch.setattr(script, "machine", lambda: ABOUT | {"gpu": "Model B"})
    script.main(["one", "--out", str(tmp_path)])
    assert ran[-1] == "one" and len(ran) == 4, "another GPU's results are not this one's"


def test_a_part_whose_time_is_over_is_ended_with_its_children(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    ended = parts.timed(lambda folder, clock: (clock.run("-c", code).returncode == 0, "", {}))(tmp_path / "part", 1.0)
    assert ended.cut_short and not ended.held


def test_its_manifests_are_valid(tmp_path: Path) -> None:
    from interp_tui_engine import manifest

    request = manifest.load(parts.manifest(tmp_path, "a", "cpu", 3, chains="vmap", noise="philox"))
    assert request.compute.noise == "philox" and request.params.num_draws == 3
