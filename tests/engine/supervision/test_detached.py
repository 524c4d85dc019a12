"""A run started by a client outlives it: hang-up, a killed terminal, a killed process group."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder

REQUEST = """
kind = "certify"
name = "detached"
[params]
cases = [{ family = "quadratic", curvatures = [1.0], n_beta = 10.0, lr = 0.01 }]
"""

CLIENT = """
import sys, time
from pathlib import Path
from interp_tui_engine import supervisor
from interp_tui_engine.runfolder import RunFolder
supervisor.launch(RunFolder(Path(sys.argv[1])))
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_run_outlives_its_terminal(tmp_path: Path, number: signal.Signals) -> None:
    folder = supervisor.prepare(manifest.parse(REQUEST), tmp_path / "run")
    control, terminal = pty.openpty()
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(folder.path)],
        env=supervisor.environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        assert b"started" in os.read(control, 1024)
        assert folder.status().owner is not None
    finally:
        os.killpg(client.pid, number)
        client.wait(10)
        os.close(control)
    assert _ended(folder) == "done"


def _ended(folder: RunFolder) -> str:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        state = folder.status().state
        if state not in ("queued", "running"):
            return state
        time.sleep(0.1)
    return "still running"
