"""`python -m tests.bench.one_run REQUEST FOLDER`: one run in a process of its own, as a worker runs it: seconds, peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.in_process import run_whole

from interp_tui_engine import manifest

from .side import ROOT, peak_mib


def measure(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run these manifest tables in a fresh process: {seconds, peak_mib, result}. Raises RuntimeError with what it said if it fails."""
    folder.mkdir(parents=True)
    given = folder / "request.json"
    given.write_text(json.dumps(tables))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.one_run", str(given), str(folder / "run")], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(given: Path, folder: Path) -> None:
    """The child's side."""
    request = manifest.resolve(json.loads(given.read_text()))
    started = time.monotonic()
    result, _ = run_whole(request, folder)
    seconds = time.monotonic() - started
    values = {key: value for key, value in result.values.items() if isinstance(value, (int, float, str))}
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "result": values}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
