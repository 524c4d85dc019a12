"""This machine as the header shows it, and what time it is: in one place, so that tests can hold both still."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..text.sanitise import clean


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


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
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return "1 core" if count == 1 else f"{count} cores"


class Gpu(NamedTuple):
    """One accelerator as its driver has it; memory in bytes."""

    name: str
    used: int
    total: int


def gpus() -> str:
    """NVIDIA GPUs, counted by name; empty where there are none."""
    found = asked_gpus()
    # a display server or an idle context holds a few hundred MiB; a card with less than that in use is free to take
    free = sum(gpu.used < 600 << 20 for gpu in found)
    names = [gpu.name for gpu in found]
    counted = " + ".join(f"{names.count(gpu)}×{gpu}" for gpu in dict.fromkeys(names))
    return f"{counted} ({free} free)" if found else ""


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


def short_path(path: Path) -> str:
    """A path as one would type it from here: ./runs or ~/runs rather than the whole of it."""
    for base, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if path == base or base in path.parents:
            return clean(str(Path(sign) / path.relative_to(base)) if sign == "~" else f"./{path.relative_to(base)}".removesuffix("/."))
    return clean(str(path))


def age(seconds: float) -> str:
    """How long ago, as one number and its unit: '12 s', '4 m', '1 h', '3 d'."""
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (86400 * 100, 86400, "d")):
        if seconds < limit:
            return f"{int(max(0, seconds) // size)} {unit}"
    return f"{int(seconds // (86400 * 365.25))} y" if seconds >= 86400 * 366 else f"{int(seconds // (86400 * 30))} mo"


def duration(seconds: float | None) -> str:
    """A length of time with its two largest units, such as '1 m 12 s'; '—' when it is not known."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, lower, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size(count: float | None) -> str:
    """Bytes in the largest decimal unit that fits, such as '310 MB'; '—' when not known."""
    if count is None:
        return "—"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
