"""`make gpu` without a GPU: one line, and what of its work needs none."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from tests.bench import __main__ as bench_main
from tests.bench import figures, side

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
    assert script.main(["--out", str(tmp_path)]) == 0 and len(ran) == 3
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


def test_a_part_that_fails_ends_no_other_and_comes_last_next_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def part(name: str, *outcomes: bool) -> tuple[float, object]:
        answers = iter(outcomes)

        def do(folder: Path, clock: parts.Clock) -> tuple[bool, str, dict[str, object]]:
            ran.append(name)
            return (True, "", {}) if next(answers) else {}["a fault of the part's own"]

        return 60.0, parts.timed(do)

    monkeypatch.setattr(script, "PARTS", {"one": part("one", False, True), "two": part("two", True), "three": part("three", True)})
    monkeypatch.setattr(script, "machine", lambda: ABOUT)
    monkeypatch.setattr(script, "SECONDS", 15.0)
    assert script.main(["one", "two", "--out", str(tmp_path)]) == 1 and ran == ["one", "two"]
    said = capsys.readouterr().err
    assert "one: FAILED" in said and "KeyError" in said and "two: held" in said
    assert "KeyError" in (tmp_path / "one" / "traceback.txt").read_text()
    assert script.main(["--out", str(tmp_path)]) == 0 and ran == ["one", "two", "three", "one"], "what never ran goes first"
    monkeypatch.setattr(script, "SECONDS", 0.0)
    (tmp_path / "report.json").write_text("{ cut")
    assert script.main(["--out", str(tmp_path)]) == 1, "what was not run did not hold"


def test_what_a_process_says_of_its_fault_is_the_first_of_it(tmp_path: Path) -> None:
    clock = parts.Clock(60.0, tmp_path)
    ended = clock.run("-c", "print('x' * 100_000); print('E   assert 1 == 2'); print('E   later'); raise SystemExit(3)")
    assert (ended.returncode, parts.first_fault(ended)) == (3, "E   assert 1 == 2")
    crashed = clock.run("-c", "import sys; print('fine'); sys.stderr.write('ValueError: no\\n'); raise SystemExit(1)")
    assert parts.first_fault(crashed) == "ValueError: no" and (tmp_path / "2-err.txt").read_text() == "ValueError: no\n"


def test_benches_need_their_peers_and_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(side, "SCRATCH", tmp_path / ".bench")
    run = parts.timed(parts.bench("sae", "saelens"))
    outcome = run(tmp_path / "sae", 60.0)
    assert outcome.cut_short and not outcome.held and "--prepare" in outcome.note and "saelens" in outcome.note
    (tmp_path / ".bench" / "saelens").mkdir(parents=True)
    (tmp_path / ".bench" / "saelens" / ".ready").touch()

    def ran(clock: parts.Clock, *command: str) -> subprocess.CompletedProcess[str]:
        figure = figures.Figure("ours / SAE Lens", 2.5, "×")
        figures.write_json(Path(command[-1]), {"gpu": None}, {"sae": {"figures": [figure]}})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(parts.Clock, "run", ran)
    outcome = run(tmp_path / "sae", 60.0)
    assert not outcome.held and outcome.note == "it ran on the CPU" and outcome.figures == {"ours / SAE Lens": 2.5}


@pytest.mark.parametrize("name", list(parts.PARTS))
def test_what_its_parts_run_is_there(name: str) -> None:
    """Commands, files and benches by name: a first run on a GPU does not end at a typing error."""
    source = inspect.getsource(parts)
    for module in re.findall(r'"-m", "(tests[.\w]+)"', source):
        assert importlib.util.find_spec(module) is not None, module
    for path in re.findall(r'"(tests/[\w/]+\.py)"', source):
        assert (parts.ROOT / path).is_file(), path
    if name.startswith("bench "):
        assert name.removeprefix("bench ") in bench_main.BENCHES


def test_its_manifests_are_valid(tmp_path: Path) -> None:
    from interp_tui_engine import manifest

    request = manifest.load(parts.manifest(tmp_path, "a", "cpu", 3, chains="vmap", noise="philox"))
    assert request.compute.noise == "philox" and request.params.num_draws == 3
