"""The batch script of one submission: an array of tasks, each of which becomes its command by exec. Torch-free.

By exec, because scancel signals the batch shell: a program that is its plain child is not told, and goes on as an orphan.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...cluster_settings import seconds_of
from ...specs import SlurmSpec
from .executor import Task

EXPORTED = ("PYTHONPATH", "PYTHONUNBUFFERED", "INTERP_TUI_CONFIG", "INTERP_TUI_SUPERVISES")
"""Variables that a task needs also where sbatch passes no environment on."""


def text(
    name: str, comment: str, settings: SlurmSpec, tasks: Sequence[Task], folder: Path, avoid: Sequence[str] = (), after: str = ""
) -> str:
    """The script. `comment` tells this submission from all others; `folder` is where the output of the script itself goes.

    after: the job that must have ended well before a task starts.
    """
    lines = ["#!/bin/bash", *(f"#SBATCH --{option}" for option in options(name, comment, settings, len(tasks), folder, avoid))]
    lines += [f"#SBATCH --dependency=afterok:{after}", "#SBATCH --kill-on-invalid-dep=yes"] if after else []
    environment = tasks[0].environment
    lines += [f"export {key}={shlex.quote(environment[key])}" for key in EXPORTED if key in environment]
    lines += settings.setup
    lines.append('case "$SLURM_ARRAY_TASK_ID" in')
    lines += [f"{index}) exec {shlex.join(task.command)} >>{shlex.quote(str(task.log))} 2>&1 ;;" for index, task in enumerate(tasks)]
    lines += ["esac", 'echo "no task of this number: $SLURM_ARRAY_TASK_ID" >&2', "exit 2"]
    return "\n".join(lines) + "\n"


def options(name: str, comment: str, settings: SlurmSpec, count: int, folder: Path, avoid: Sequence[str] = ()) -> Iterator[str]:
    """The options of sbatch, each as it stands in the script."""
    at_once = f"%{settings.array_parallelism}" if settings.array_parallelism else ""
    yield f"job-name={_word(name)}"
    yield f"comment={comment}"
    yield f"array=0-{count - 1}{at_once}"
    yield f"output={_quoted(folder)}/%A_%a.out"
    yield "open-mode=append"
    yield "requeue"
    for key in ("partition", "account", "qos", "mem", "constraint", "nodelist"):
        if value := getattr(settings, key):
            yield f'{key}="{value}"' if key == "constraint" else f"{key}={value}"
    if settings.cpus_per_task:
        yield f"cpus-per-task={settings.cpus_per_task}"
    if settings.gpus_per_task:
        yield f"gres=gpu:{settings.gpus_per_task}"
    limit = seconds_of(settings.time) if settings.time else None
    if limit:
        yield f"time={_clock(limit)}"
    yield f"signal=B:USR1@{margin(settings)}"
    if avoid:
        yield f"exclude={','.join(avoid)}"
    for option in settings.extra:
        yield option.removeprefix("--")


def margin(settings: SlurmSpec) -> int:
    """Seconds before the time limit at which a worker is told; never more than half of the limit."""
    limit = seconds_of(settings.time) if settings.time else None
    return settings.signal_before if limit is None else max(1, min(settings.signal_before, int(limit / 2)))


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _word(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)[:60] or "interp-tui"


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%").replace('"', '\\"') + '"' if any(c in str(path) for c in ' "%') else str(path)
