"""What `make bench`, `truth`, `torture`, `parity` and `gpu` start can be imported as make starts it: without the paths that pytest adds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTED = ("bench", "truth", "torture", "parity", "gpu")


def test_everything_that_make_starts_can_be_imported() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("engine", "tui"))}
    code = "; ".join(f"import tests.{name}.__main__" for name in STARTED)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
