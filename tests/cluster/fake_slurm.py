"""Stands in for Slurm where there is none: sbatch, squeue, scancel, scontrol and sinfo as one script that runs tasks as processes here.

`install(folder)` puts the commands into a folder for the PATH and gives what tests do to the cluster (preempt a task, lose its node).
What it answers was compared with Slurm 22.05: the same columns, the same words in refusals. Nodes n1 and n2, partitions main and urgent.
A task is started at once, unless the cluster is `full`. As with Slurm, scancel signals the batch shell only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")


class Cluster:
    """The state of the cluster, in a folder: one file a task, changed by whoever holds it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tasks = root / "tasks"

    def task(self, name: str) -> dict[str, Any]:
        for _ in range(50):  # replaced while it is read
            with contextlib.suppress(OSError, ValueError):
                return dict(json.loads((self.tasks / name).read_text()))
            time.sleep(0.01)
        return {}

    def set(self, name: str, **values: Any) -> None:
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.task(name) if (self.tasks / name).exists() else {}
            if before.get("state") == "CANCELLED" and values.get("state") == "RUNNING":
                del values["state"]  # cancelled while it was being started
            beside = self.root / f".{name}.{os.getpid()}"
            beside.write_text(json.dumps(before | values))
            beside.replace(self.tasks / name)

    def all(self) -> dict[str, dict[str, Any]]:
        return {path.name: self.task(path.name) for path in sorted(self.tasks.iterdir())}

    def wait(self, name: str, state: str, seconds: float = 200.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (task := self.task(name) if (self.tasks / name).exists() else {}).get("state") != state:
            assert time.monotonic() < deadline, f"{name} is {task}, not {state}"
            time.sleep(0.02)
        return task

    # -- what tests do to it

    def preempt(self, name: str) -> None:
        """Put a running task back into the queue, as a partition of higher priority does."""
        self.set(name, requeue=True)
        os.kill(self.task(name)["pid"], signal.SIGTERM)

    def lose(self, name: str, state: str) -> None:
        """End a task at once, as a node that fails, a limit of memory or of time does."""
        self.set(name, as_state=state)
        os.kill(self.task(name)["pid"], signal.SIGKILL)

    def near_limit(self, name: str) -> None:
        """What --signal=B:USR1@N does N seconds before the time limit."""
        os.kill(self.task(name)["pid"], signal.SIGUSR1)

    def hold(self, name: str, on: bool) -> None:
        """What scontrol hold and release do to a task that waits."""
        self.set(name, held=on)

    def full(self, on: bool) -> None:
        """Whether tasks wait."""
        (self.root / "full").touch() if on else (self.root / "full").unlink(missing_ok=True)

    def silent(self, on: bool) -> None:
        """Whether the controller answers nobody."""
        (self.root / "silent").touch() if on else (self.root / "silent").unlink(missing_ok=True)

    def end(self) -> None:
        for task in self.all().values():
            for key in ("pid", "runner"):
                if task.get(key):
                    with contextlib.suppress(OSError):
                        os.kill(task[key], signal.SIGKILL)


def install(folder: Path) -> Cluster:
    """The commands in folder/bin, and the cluster they speak of."""
    root = folder / "fake-slurm"
    (root / "tasks").mkdir(parents=True)
    (folder / "bin").mkdir(parents=True)
    for name in NAMES:
        script = folder / "bin" / name
        script.write_text(f'#!/bin/bash\nFAKE_SLURM={root} exec {sys.executable} -S {Path(__file__).resolve()} {name} "$@"\n')
        script.chmod(0o755)
    return Cluster(root)


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")


def fail(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def sbatch(cluster: Cluster, arguments: list[str]) -> int:
    script = next(argument for argument in arguments if not argument.startswith("-"))
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", Path(script).read_text(), flags=re.MULTILINE))
    options = {key: value.strip('"') for key, value in options.items()}
    if options.get("partition", "main") not in ("main", "urgent"):
        fail(f"sbatch: error: invalid partition specified: {options['partition']}")
        fail("sbatch: error: Batch job submission failed: Invalid partition name specified")
        return 1
    if int(re.sub(r"\D", "", options.get("mem", "0")) or 0) > 4000 or options.get("exclude", "").count("n") == len(NODES):
        fail("sbatch: error: Batch job submission failed: Requested node configuration is not available")
        return 1
    job = 1 + max((int(name.partition("_")[0]) for name in cluster.all()), default=100)
    first, last = (int(part) for part in (options.get("array") or "0-0").partition("%")[0].split("-"))
    for index in range(first, last + 1):
        name = f"{job}_{index}"
        cluster.set(name, state="PENDING", script=script, options=options, restarts=0, node="", submitted=time.time())
        command = [sys.executable, "-S", str(Path(__file__).resolve()), "_run", name]
        subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(job)
    return 0


def after_its_probe(cluster: Cluster, name: str) -> bool:
    """Wait for what the task depends on; whether it may start. One that may not is cancelled (--kill-on-invalid-dep)."""
    needed = cluster.task(name)["options"].get("dependency", "").removeprefix("afterok:")
    while needed and (state := cluster.task(f"{needed}_0")["state"]) in ("PENDING", "RUNNING"):
        time.sleep(0.02)
    if needed and state != "COMPLETED":
        cluster.set(name, state="CANCELLED")
        return False
    return True


def run(cluster: Cluster, name: str) -> int:
    """One task: wait for a place, run the script, say how it ended, and again where it was put back."""
    job, _, index = name.partition("_")
    cluster.set(name, runner=os.getpid())
    while True:
        if not after_its_probe(cluster, name):
            return 0
        while (cluster.root / "full").exists() or cluster.task(name).get("held"):
            if cluster.task(name)["state"] == "CANCELLED":
                return 0
            time.sleep(0.02)
        task = cluster.task(name)
        allowed = [node for node in NODES if node not in task["options"].get("exclude", "").split(",")]
        node = allowed[int(index) % len(allowed)]
        place = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index, "SLURM_JOB_ID": str(hash(name) % 10**6), "SLURMD_NODENAME": node}
        if restarts := task["restarts"]:
            place["SLURM_RESTART_COUNT"] = str(restarts)
        out = task["options"]["output"].replace("%A", job).replace("%a", index)
        if (cluster.root / "elsewhere").exists():  # the node sees another file system
            cluster.set(name, state="FAILED", node=node, code=1)
            return 0
        with Path(out).open("ab") as log:
            command = ["/bin/bash", task["script"]]
            process = subprocess.Popen(command, env=os.environ | place, stdout=log, stderr=log, start_new_session=True)
        cluster.set(name, state="RUNNING", pid=process.pid, node=node)
        code = process.wait()
        task = cluster.task(name)
        if task.get("requeue"):
            cluster.set(name, state="PENDING", requeue=False, restarts=restarts + 1, node="")
            continue
        ended = task.get("as_state") or ("COMPLETED" if code == 0 else "FAILED")
        cluster.set(name, state="CANCELLED" if task["state"] == "CANCELLED" else ended, code=code, pid=None)
        return 0


def squeue(cluster: Cluster, arguments: list[str]) -> int:
    with (cluster.root / "asked").open("a") as log:
        log.write(f"{time.time()}\n")
    if (cluster.root / "silent").exists():
        fail("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
        return 1
    wanted = arguments[arguments.index("-j") + 1].split(",") if "-j" in arguments else None
    rows = {name: task for name, task in cluster.all().items() if wanted is None or name.partition("_")[0] in wanted}
    if wanted is not None and len(wanted) == 1 and not rows:
        fail("slurm_load_jobs error: Invalid job id specified")
        return 1
    if "all" not in arguments:
        rows = {name: task for name, task in rows.items() if task["state"] in ("PENDING", "RUNNING")}
    form = arguments[arguments.index("-o") + 1]
    for name, task in rows.items():
        options = task["options"]
        reason = "JobHeldUser" if task.get("held") else "Resources" if task["state"] == "PENDING" else "None"
        values = {"i": name, "T": task["state"], "r": reason, "N": task["node"], "S": "N/A", "L": "UNLIMITED", "M": "0:00"}
        values |= {"P": options.get("partition", "main"), "o": task["script"], "k": options.get("comment", "")}
        say(re.sub(r"%([a-zA-Z])", lambda match, values=values: values[match[1]], form))
    return 0


def scontrol(cluster: Cluster, arguments: list[str]) -> int:
    verb, name = arguments[0], arguments[-1]
    if verb not in ("hold", "release", "requeue"):
        code = cluster.task(name).get("code") or 0 if "job" in arguments else 0
        say(f"ExitCode={code}:0" if code >= 0 else f"ExitCode=0:{-code}")
        say("MaxArraySize            = 1001")
        return 0
    state = cluster.task(name)["state"] if (cluster.tasks / name).exists() else ""
    if state not in (("RUNNING",) if verb == "requeue" else ("PENDING",)):
        fail("Requested operation is presently disabled for job " + name if state else "Invalid job id specified for job " + name)
        return 1
    if verb == "requeue":
        cluster.preempt(name)
    else:
        cluster.hold(name, verb == "hold")
    return 0


def scancel(cluster: Cluster, arguments: list[str]) -> int:
    number = signal.SIGTERM
    if "--signal" in arguments:
        at = arguments.index("--signal")
        number = signal.Signals[f"SIG{arguments[at + 1]}"]
        arguments = arguments[:at] + arguments[at + 2 :]
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    for name, task in cluster.all().items():
        if not ({name, name.partition("_")[0]} & set(wanted)) or task["state"] not in ("PENDING", "RUNNING"):
            continue
        if number != signal.SIGKILL:
            cluster.set(name, state="CANCELLED")
        if task.get("pid"):
            os.kill(task["pid"], number)
    return 0


def main() -> int:
    cluster, command, arguments = Cluster(Path(os.environ["FAKE_SLURM"])), sys.argv[1], sys.argv[2:]
    if command == "sinfo":
        say("main*|infinite|2|2|4000|(null)|up\nurgent|1:00:00|2|2|4000|gpu:2|up")
        return 0
    if command == "_run":
        return run(cluster, arguments[0])
    return {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "scontrol": scontrol}[command](cluster, arguments)


if __name__ == "__main__":
    sys.exit(main())
