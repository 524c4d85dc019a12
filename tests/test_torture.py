"""The hard tests in their short form: a few kills, stops, fuzzed manifests, full disks, hostile texts and keys at random.

Hostile models have a test of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from torture import app, disk, fuzz, text


@pytest.mark.parametrize("group", [fuzz, text, disk, app], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_few_of_each_hold(group: object) -> None:
    parts = group.parts(True)  # type: ignore[attr-defined]
    wrong = [check for part in parts for check in group.checks(part, True, 20261129) if not check.passed]  # type: ignore[attr-defined]
    assert not wrong


def test_a_few_kills_and_stops_leave_the_numbers() -> None:
    """In a process of its own, which forks: this one has threads by now."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torture", "kill", "stop", "--quick", "--seed", "20261129"]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
