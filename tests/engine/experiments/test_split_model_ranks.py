"""A run whose model is split over two devices, as a worker does it: the other rank is a process that it starts, and that follows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_other_rank_follows_orders_and_a_kill_costs_only_steps(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "lost_and_stopped", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["left"] == [], "what the other rank wrote is forgotten"
    assert said["killed"] == "rank 1, which held a part of the model, was killed by SIGKILL"
    assert said["stopped"] and said["resumed"] == said["whole"] != {}
