"""This machine as the header shows it, and what time it is: in one place, so that tests can hold both still."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from datetime import datetime
from typing import NamedTuple

from ..text.numbers import age as age
from ..text.numbers import duration as duration
from ..text.numbers import duration_range as duration_range
from ..text.numbers import short_path as short_path
from ..text.numbers import size as size
from ..text.sanitise import clean


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


def time_of_day(when: float) -> str:
    """The local time of a moment in seconds since the epoch; empty for one that no clock has."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(when))
    except (OverflowError, OSError, ValueError):
        return ""


def clock() -> str:
    """The time of day."""
    return f"{datetime.fromtimestamp(now()):%H:%M}"


def name() -> str:
    """This host's name, without its domain."""
    return clean(socket.gethostname().split(".")[0], limit=24)


def devices() -> str:
    """What there is to compute on, such as '2×H200 (1 free)' or '8 cores'. May take a second: call it off the event loop."""
    return gpus() or cores()


def cores() -> str:
    """How many cores this process may use, in words."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "1 core" if count == 1 else f"{count} cores"


class Gpu(NamedTuple):
    """One accelerator as its driver has it; memory in bytes."""

    name: str
    used: int
    total: int


def gpus() -> str:
    """NVIDIA GPUs, counted by name; empty where there are none."""
    gpus = asked_gpus()
    # a display server or an idle context holds a few hundred MiB; a card with less than that in use is free to take
    free = sum(gpu.used < 600 << 20 for gpu in gpus)
    names = [gpu.name for gpu in gpus]
    counted = " + ".join(f"{names.count(gpu)}×{gpu}" for gpu in dict.fromkeys(names))
    return f"{counted} ({free} free)" if gpus else ""


def asked_gpus() -> list[Gpu]:
    """NVIDIA GPUs by nvidia-smi, since asking torch would import it."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=3, check=True).stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.rsplit(",", 2)] for line in lines if line.count(",") >= 2]
    return [
        Gpu(clean(name.removeprefix("NVIDIA ").strip(), limit=20), *(int(n) << 20 if n.isdigit() else 0 for n in (used, total)))
        for name, used, total in rows
    ]
