"""SIGKILL at any instant, then go on: the arrays are those of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from interp_tui_engine.samplers.chains.store import digests

HERE = Path(__file__).parent

SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from sampler_models import THREADS, config, make_store, problem, run
folder = Path(sys.argv[1])
c = config(num_draws=150, num_chains=3, num_steps_bw_draws=2)
p = problem(c)
print("ready", flush=True)
run(p, c, make_store(folder / "s", p, c), THREADS, folder=folder / "ck", every=0.02)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(HERE)], env=environment, stdout=subprocess.PIPE)


def test_killed_at_random_moments_and_resumed(tmp_path):
    undisturbed = start(tmp_path / "a")
    assert undisturbed.stdout is not None
    undisturbed.stdout.readline()
    begun = time.perf_counter()
    assert undisturbed.wait() == 0
    length = time.perf_counter() - begun
    draw = random.Random(0)
    for _ in range(3):
        process = start(tmp_path / "b")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0.1, 0.5) * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(tmp_path / "b").wait() == 0
    assert digests(tmp_path / "a" / "s") == digests(tmp_path / "b" / "s")
