"""sbatch, squeue and scancel: what is asked of them, and what their answers and refusals mean. Torch-free.

Nothing else of Slurm is needed: no accounting (sacct answers nothing on many clusters), no JSON (newer versions only).
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError

PATIENCE = 60.0
"""Seconds for one answer: a busy controller takes its time."""
FORMAT = "%i|%T|%r|%N|%S|%L|%k"
USER_FORMAT = "%i|%T|%r|%N|%P|%S|%L|%M|%o|%k"
COMMENT = "interp-tui:"
"""What the comment of every job of this program begins with."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
_REFUSALS = {
    "invalid partition": ("there is no partition {partition!r} here", "sinfo lists the partitions; compute.slurm.partition names one"),
    "invalid account": ("the account {account!r} may not be used here", "sacctmgr show associations user=$USER lists yours"),
    "invalid qos": ("the qos {qos!r} may not be used here", "compute.slurm.qos names another, or leave it out"),
    "node configuration is not available": (
        "no node of the partition has what a task asks for",
        "ask for less: compute.slurm.mem, cpus_per_task, gpus_per_task, constraint or nodelist; sinfo -N -l shows the nodes",
    ),
    "invalid generic resource": ("no node here has GPUs as asked for", "set compute.slurm.gpus_per_task = 0, or another partition"),
    "time limit": (
        "the time limit {time!r} is more than the partition allows",
        "sinfo -o '%P %l' shows the limits; lower compute.slurm.time",
    ),
    "invalid node name": ("there is no node {nodelist!r} here", "sinfo -N lists the nodes"),
    "invalid feature": ("no node has the feature {constraint!r}", "sinfo -o '%N %f' lists them"),
    "memory specification can not be satisfied": ("no node has {mem} of memory for a task", "lower compute.slurm.mem"),
    "violates accounting": ("the account's limits do not allow the job", "sacctmgr show qos lists the limits"),
}


@dataclass(frozen=True)
class QueueRow:
    """One task as squeue shows it. starts: when it began or is expected to; left: of its time limit; both as Slurm writes them."""

    id: str
    state: str
    reason: str
    node: str
    starts: str
    left: str
    comment: str = ""

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def live(self) -> bool:
        return self.state in WAITING or self.state in RUNNING


@dataclass(frozen=True)
class UserTask:
    """One task of the user's as squeue shows it. starts, left, elapsed: as Slurm writes them. script: its batch script, in
    the run's folder."""

    id: str
    state: str
    reason: str
    node: str
    partition: str
    starts: str
    left: str
    elapsed: str
    script: Path
    comment: str

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def held(self) -> bool:
        return self.waiting and self.reason.startswith("JobHeld")


class Unreachable(Exception):
    """The controller did not answer: what it would have said is not known."""


def need_slurm() -> None:
    """Raise UserError where Slurm's commands are not on the path."""
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"executor = 'slurm', but {', '.join(missing)} is not on the path",
            "run this on a login node of the cluster, or use --set compute.executor=local",
        )


def submit(script: Path, about: dict[str, str | None]) -> str:
    """Submit a batch script; returns the job's id. Raises UserError where it is refused, `about` naming what was asked for."""
    need_slurm()
    try:
        done = _run(["sbatch", "--parsable", str(script)])
    except Unreachable as error:
        raise UserError(f"sbatch did not submit the tasks: {error}", "try again when the controller answers (scontrol ping)") from None
    if done.returncode == 0 and (job := done.stdout.strip().splitlines()[-1:]) and (match := re.match(r"\d+", job[0])):
        return match[0]
    answer = " ".join((done.stderr or done.stdout).split())
    for text, (what, hint) in _REFUSALS.items():
        if text in answer.lower():
            raise UserError(f"Slurm refused the tasks: {what.format_map(about)}", f"{hint} (sbatch: {answer[:200]})")
    raise UserError(f"Slurm refused the tasks: {answer[:300] or 'sbatch gave no reason'}", "the settings are those of [compute.slurm]")


def queue(jobs: Iterable[str]) -> dict[str, QueueRow]:
    """Every task of these jobs that the controller still knows, also those that ended lately. Raises Unreachable."""
    names = sorted(set(jobs))
    return _rows(["-j", ",".join(names)]) if names else {}


def of_user(comment: str) -> dict[str, QueueRow]:
    """The user's tasks whose comment is this one. Raises Unreachable."""
    return {row.id: row for row in _rows(["--me"]).values() if row.comment == comment}


def cancel(jobs: Sequence[str], number: signal.Signals | None = None) -> None:
    """Cancel the tasks, or send them a signal. A task that is gone already is no error."""
    if jobs:
        options = ["--signal", number.name.removeprefix("SIG"), "--full"] if number else []
        try:
            _run(["scancel", "--quiet", *options, *jobs])
        except Unreachable:
            return  # the order files in the run folder say the same to a worker that runs


def hold(job: str) -> None:
    """Keep a waiting task from starting. Raises UserError with Slurm's reason where it does not."""
    _control("hold", job)


def release(job: str) -> None:
    """Let a held task start. Raises UserError with Slurm's reason where it does not."""
    _control("release", job)


def requeue(job: str) -> None:
    """Put a running task back into the queue; it goes on from its checkpoint. Raises UserError with Slurm's reason where it does not."""
    _control("requeue", job)


def _control(verb: str, job: str) -> None:
    try:
        done = _run(["scontrol", verb, job])
    except Unreachable as error:
        raise UserError(f"scontrol {verb} {job}: {error}", "try again when the controller answers (scontrol ping)") from None
    if done.returncode:
        answer = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"Slurm did not {verb} {job}: {answer[:200] or 'scontrol gave no reason'}", "squeue --me shows how it stands")


def exit_code(job: str) -> int | None:
    """A task's exit code, negative for a signal, as long as the controller remembers it; None after."""
    try:
        shown = _run(["scontrol", "-o", "show", "job", job]).stdout
    except Unreachable:
        return None
    match = re.search(r"ExitCode=(\d+):(\d+)", shown)
    return None if match is None else -int(match[2]) or int(match[1])


def setting(name: str, usual: int) -> int:
    """A number of the cluster's configuration, such as MaxArraySize."""
    try:
        shown = _run(["scontrol", "show", "config"]).stdout
    except Unreachable:
        return usual
    match = re.search(rf"^{name}\s*=\s*(\d+)", shown, flags=re.MULTILINE)
    return int(match[1]) if match else usual


def of_this_program() -> list[UserTask]:
    """The user's tasks that runs of this program have submitted and that wait or run, as the screens show them. Raises Unreachable."""
    done = _run(["squeue", "-h", "-r", "--me", "-o", USER_FORMAT])
    if done.returncode:
        raise Unreachable(" ".join(done.stderr.split())[:200] or f"squeue ended with code {done.returncode}")
    return user_tasks(done.stdout)


def user_tasks(text: str) -> list[UserTask]:
    """The tasks in squeue's answer that this program's comment marks."""
    tasks = []
    for line in text.splitlines():
        parts = line.split("|", 8)
        rest, _, comment = parts[-1].rpartition("|")
        if len(parts) == 9 and comment.startswith(COMMENT):
            job, state, reason, node, partition, starts, left, elapsed = parts[:8]
            tasks.append(UserTask(job, state, reason, node, partition, starts, left, elapsed, Path(rest), comment))
    return tasks


def partitions() -> list[dict[str, str]]:
    """What sinfo says of the partitions: name, time limit, nodes, cores and memory (MiB) of a node, GPUs. Raises Unreachable."""
    keys = ("name", "time", "nodes", "cpus", "memory", "gres", "state")
    lines = _run(["sinfo", "-h", "-o", "%P|%l|%D|%c|%m|%G|%a"]).stdout.splitlines()
    rows = [line.split("|") for line in lines]
    return [dict(zip(keys, row, strict=True)) for row in rows if len(row) == len(keys)]


def parsed(text: str) -> dict[str, QueueRow]:
    """The rows of squeue's answer by task."""
    rows = (line.split("|", 6) for line in text.splitlines())
    return {row[0]: QueueRow(*row) for row in rows if len(row) == 7}


def _rows(which: list[str]) -> dict[str, QueueRow]:
    done = _run(["squeue", "-h", "-r", "-t", "all", "-o", FORMAT, *which])
    if done.returncode and "invalid job id" not in done.stderr.lower():
        raise Unreachable(" ".join(done.stderr.split())[:200] or f"squeue ended with code {done.returncode}")
    return parsed(done.stdout)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"{command[0]} did not answer in {PATIENCE:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise Unreachable(reason) from None
