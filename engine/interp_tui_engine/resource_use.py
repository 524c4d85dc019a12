"""What a run took beside what was estimated for it: time, memory and disk, added to its result.json and report at its end. Torch-free."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from . import atomic
from .kind import Estimate
from .payload import LEFT_OUT, Use, read
from .runfolder import RunFolder

TABLE = "took"
HEADING = "## What it took"


def peak_of_this_process(others: int = 0) -> int | None:
    """The most bytes that this process has had resident, and as much for each of so many processes that it started and that have ended.

    None where the system does not say.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    own, children = (resource.getrusage(who).ru_maxrss * unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + others * children


def write(folder: RunFolder, estimate: Estimate, seconds: float, memory: int | None, gpu_memory: Iterable[int] = ()) -> None:
    """Add what the run took to its result.json and report. memory: of its processes at work together, in bytes."""
    result = folder.result()
    if result is None:
        return
    use = Use(
        seconds=seconds,
        estimated_seconds=_or_left_out(estimate.seconds),
        memory_bytes=_or_left_out(memory),
        estimated_memory_bytes=_or_left_out(estimate.memory_bytes),
        gpu_memory_bytes=max(gpu_memory, default=LEFT_OUT),
        disk_bytes=size_of(folder),
        estimated_disk_bytes=_or_left_out(estimate.disk_bytes),
    )
    atomic.write_json(folder.result_path, {**result, TABLE: use.as_json()})
    if folder.report_path.exists():
        report = folder.report_path.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[0]
        lines = [f"{what}: {text}" for what, text in words(use)]
        atomic.write_text(folder.report_path, "\n".join([report, HEADING, "", *(f"- {line}" for line in lines), ""]))


def memory_of(exits: Iterable[Mapping[str, Any]], at_once: int | None = None) -> int | None:
    """Bytes of processes at work together, by their exit records: all of them, or so many of the largest. None where none says."""
    peaks = sorted((size for record in exits if isinstance(size := record.get("memory_bytes"), int)), reverse=True)
    return sum(peaks[:at_once]) if peaks else None


def gpu_peaks(record: Mapping[str, Any]) -> dict[str, int]:
    """The most bytes in use on each GPU that a worker's exit record tells of."""
    peaks = record.get("gpu_memory_peak")
    return {str(device): peak for device, peak in peaks.items() if isinstance(peak, int)} if isinstance(peaks, dict) else {}


def of_children(folders: Iterable[RunFolder], at_once: int) -> int | None:
    """Bytes of the children of a sweep or a pipeline, so many of which run at a time."""
    uses = (read(Use, (folder.result() or {}).get(TABLE)) for folder in folders)
    return memory_of(({"memory_bytes": use.memory_bytes} for use in uses), at_once)


def size_of(folder: RunFolder) -> int:
    """Bytes of all files in a run folder; one that goes meanwhile counts as none."""
    total, todo = 0, [str(folder.path)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def words(use: Use) -> list[tuple[str, str]]:
    """What was taken, each beside its estimate, for people: ('time', '12 s, 30 s estimated')."""
    rows = [
        ("time", _seconds(use.seconds), _seconds(use.estimated_seconds)),
        ("memory", _size(use.memory_bytes), _size(use.estimated_memory_bytes)),
        ("GPU memory", _size(use.gpu_memory_bytes), ""),
        ("disk", _size(use.disk_bytes), _size(use.estimated_disk_bytes)),
    ]
    return [(what, f"{actual}, {estimated} estimated" if estimated else actual) for what, actual, estimated in rows if actual]


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 120:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _size(value: int | None) -> str:
    if value is None:
        return ""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value >= 1 << power:
            return f"{value / (1 << power):.1f} {unit}"
    return f"{value} B"


def _or_left_out(value: Any) -> Any:
    return LEFT_OUT if value is None else value
