"""What a supervisor of 1,000 tasks costs: a sweep on a real Slurm whose points are shell scripts that sleep and say that they are done.

    INTERP_TUI_CLUSTER=1 python -m tests.bench.cluster_load [TASKS]     (root, Debian's Slurm packages; brings up two nodes of 250 cores)

Prints one JSON line: the supervisor's own seconds of CPU, its share of a core, its peak resident memory, and how often squeue was asked.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision import child_tasks
from interp_tui_engine.supervision.executors import slurm_commands
from interp_tui_engine.supervision.executors.executor import StartedTask, Task
from interp_tui_engine.supervision.executors.slurm import SlurmExecutor

SLURM = Path(__file__).resolve().parent.parent / "cluster" / "slurm.sh"
CHILD = """#!/bin/sh
sleep $((20 + $$ % 20))
cat > "$1/.status" <<END
{"state": "done", "kind": "certify", "name": "point", "job": "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}", "updated": $(date +%s)}
END
mv "$1/.status" "$1/status.json"
"""


def measure(tasks: int, home: Path) -> dict[str, float]:
    """Supervise a sweep of so many points; what that took."""
    (home / "child.sh").write_text(CHILD)
    (home / "child.sh").chmod(0o755)
    child_tasks.child_command = lambda folder: [str(home / "child.sh"), str(folder.path)]  # type: ignore[assignment]
    asked: list[float] = []
    run = slurm_commands._run

    def counted(command: list[str]) -> subprocess.CompletedProcess[str]:
        if command[0] == "squeue":
            asked.append(time.monotonic())
        return run(command)

    slurm_commands._run = counted  # type: ignore[assignment]
    tables = {"kind": "certify", "name": "load", "compute": {"executor": "slurm"}, "sweep": {"seed": list(range(tasks))}}
    submit, submitted = SlurmExecutor.submit, list[tuple[float, float]]()

    def noted(self: SlurmExecutor, given: Sequence[Task], *, avoid: Sequence[str] = ()) -> list[StartedTask]:
        jobs = submit(self, given, avoid=avoid)
        submitted.append((time.monotonic(), cpu()))
        return jobs

    SlurmExecutor.submit = noted  # type: ignore[method-assign]
    folder: RunFolder = supervisor.prepare(manifest.resolve(tables), home / "run")
    before = cpu()
    status = supervisor.supervise(folder)
    ended, spent = time.monotonic(), cpu()
    following = ended - submitted[0][0]
    gaps = [second - first for first, second in pairwise(asked)]
    return {
        "tasks": tasks,
        "done": status.headline.get("done", 0),
        "cpu_seconds_to_prepare": round(submitted[0][1] - before, 2),
        "seconds_followed": round(following, 1),
        "cpu_seconds_to_follow": round(spent - submitted[0][1], 2),
        "share_of_a_core": round((spent - submitted[0][1]) / following, 4),
        "peak_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "squeue": len(asked),
        "least_seconds_between": round(min(gaps, default=0.0), 2),
    }


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Bring up Slurm, measure, take it down."""
    home = Path(tempfile.mkdtemp(prefix="interp-tui-load-", dir="/tmp"))
    home.chmod(0o755)
    environment = os.environ | {"SLURM_HOME": str(home / "slurm"), "SLURM_CPUS": "250", "SLURM_PORTS": "27800"}
    (home / "slurm").mkdir(mode=0o755)
    try:
        subprocess.run([SLURM, "up"], env=environment, check=True)
        os.environ |= {"SLURM_CONF": str(home / "slurm" / "slurm.conf"), "INTERP_TUI_CONFIG": str(home / "config")}
        sys.stdout.write(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, home)) + "\n")
    finally:
        subprocess.run([SLURM, "down"], env=environment, check=False)
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
