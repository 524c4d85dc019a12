"""doctor on machines this one is not: accelerators with their free memory, and credentials that are never shown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cli_tools import Cli, cli

from interp_tui.commands import doctor
from interp_tui.terminal import host
from interp_tui_engine import accelerators, expected_time
from interp_tui_engine.expected_time import PastRun

__all__ = ["cli"]


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """An nvidia-smi of our own, first on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_accelerators_are_told_with_the_memory_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(tmp_path, monkeypatch, r"printf 'NVIDIA H200, 5, 143771\nNVIDIA H200, 70000, 143771\n'")
    found = doctor._accelerators()
    assert found.found == "H200 151 GB free of 151 GB, H200 77 GB free of 151 GB"
    assert found.free_bytes == (143771 - 5) << 20
    assert host.gpus() == "2×H200 (1 free)"


@pytest.mark.parametrize("says", ["echo No devices were found; exit 6", "printf 'NVIDIA H200, [N/A]\\n'", "exit 0"])
def test_a_driver_that_says_nothing_of_use_is_no_accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    driver(tmp_path, monkeypatch, says)
    assert host.gpus() == "" and doctor._accelerators().free_bytes is None


@pytest.mark.parametrize(
    ("said", "words", "advice"),
    [
        ('[{"device": "cuda:0", "model": "A", "trials": [{"name": "products", "result": "51 TFLOP/s", "advice": ""}]}]', "51 TFLOP/s", ""),
        ('[{"device": "cuda:0", "model": "A", "trials": [{"name": "noise", "result": "slow", "advice": "pip"}]}]', "noise slow", "pip"),
        ("[]", "0 of the 1 GPUs", "install a build of torch"),
        ("a warning\nno json", "did not run", "see the driver"),
        (None, "libcuda is missing", "see the driver"),
    ],
)
def test_each_gpu_is_tried_by_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, said: str | None, words: str, advice: str) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if said is None:
            raise subprocess.CalledProcessError(1, command, stderr="Traceback\nOSError: libcuda is missing\n")
        return subprocess.CompletedProcess(command, 0, said + "\n")

    monkeypatch.setattr(accelerators, "visible", lambda: ("cuda:0",))
    monkeypatch.setattr(subprocess, "run", run)
    (check,) = doctor._gpu_checks()
    assert words in check.found and advice in check.advice and bool(check.advice) == bool(advice)
    assert asked[0][-1] == "interp_tui_engine.runtime.gpu_check"


def test_without_a_gpu_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", tuple)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("no process is needed"))
    assert not list(doctor._gpu_checks())


def test_credentials_are_present_or_not_and_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in (*doctor.KEYS.values(), "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert "no Goodfire (GOODFIRE_API_KEY)" in cli("doctor").out
    assert "none (public models need none)" in cli("doctor").out
    (tmp_path / "token").write_text("s3cret-file")
    for name in (*doctor.KEYS.values(), "HF_TOKEN"):
        monkeypatch.setenv(name, f"s3cret-{name}")
    place = tmp_path / "kept" / "env.json"
    said = [cli("doctor", "--out", str(place)).out, cli("doctor", "--json").out, place.read_text()]
    assert not any("s3cret" in text for text in said)
    by_name = {one["name"]: one for one in json.loads(said[1])}
    assert by_name["hub credentials"]["found"] == "present" and "Goodfire present" in by_name["service keys"]["found"]
    assert by_name["memory"]["free_bytes"] > 0 and by_name["runs folder"]["free_bytes"] > 0


def test_estimates_are_held_against_what_runs_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past = {"llc": [PastRun(10.0, took) for took in (5.0, 12.0, 30.0)], "sample": [PastRun(1.0, 1.5)]}
    monkeypatch.setattr(expected_time, "by_kind", lambda root, estimate: past)
    said = doctor._estimates(tmp_path).found
    assert said == "llc took 1.2 x its estimate (0.5 to 3), 3 runs; sample took 1.5 x its estimate, 1 run"
    monkeypatch.setattr(expected_time, "by_kind", lambda root, estimate: {})
    assert doctor._estimates(tmp_path).found == "no finished run here to compare with"
