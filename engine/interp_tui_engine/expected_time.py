"""How long a run will take, as a range: from what runs of its kind took here, else from the machine's speed now. Torch-free.

A kind's own estimate counts operations; what a count misses (a kind's overhead, this machine's memory, other work beside it) is the same
for runs of the kind that are alike. So each finished run under the root gives a factor, the seconds it took over what the kind estimates
for its manifest now, and the factors of those nearest in size scale the estimate.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import psutil

from .catalog import Estimate
from .errors import UserError
from .eventlog import last_events
from .events import RunFinished, RunStarted
from .manifest import Manifest, load
from .runfolder import RunFolder

_LOOKED_AT = 200
"""Newest folders of a root whose status is read."""
_RUNS = 12
"""Newest runs of the kind that are compared in size."""
_NEAREST = 5
_UNCERTAIN = 3.0
"""A count of operations alone is right within this factor on a machine whose load stays as it is."""
_SOME = 0.5
"""Load below which what it is made of does not matter."""
_LOOKED_AT_FOR = 10.0
"""Seconds that a look at the processes beside this one holds."""
_WIDEN = 1.25
"""What machine load and caches add to the spread of past runs."""


@dataclass(frozen=True)
class PastRun:
    """A finished run of the kind: what its kind estimates for it now, and what it took, in seconds."""

    estimated: float
    took: float

    @property
    def factor(self) -> float:
        return self.took / self.estimated


def expected(request: Manifest, root: Path, estimate: Callable[[Manifest], Estimate]) -> Estimate:
    """The estimate of `request` with a range of its seconds, and a note that says what they rest on.

    root: the folder whose runs are looked at. estimate: what a kind, sweep or pipeline says of a manifest. Where the seconds are not known,
    neither is the range.
    """
    plain = estimate(request)
    if plain.seconds is None or not plain.seconds > 0:
        return plain
    past = past_runs(request, root, estimate)
    if past:
        return from_past(plain, past)
    busy = slowdown(_load(), psutil.cpu_count() or 1)
    seconds = plain.seconds * busy
    beside = f", {busy:.1f} times slower beside the other work on it" if busy > 1.2 else ""
    note = f"time: operations counted, at this machine's speed{beside}; no run of the kind here yet"
    return replace(plain, seconds=seconds, low=seconds / _UNCERTAIN, high=seconds * _UNCERTAIN, notes=(*plain.notes, note))


def from_past(plain: Estimate, past: Sequence[PastRun]) -> Estimate:
    """The plain estimate times the median factor of the past runs nearest in size; the range holds all of theirs, widened where few."""
    assert plain.seconds is not None, "nothing to scale"
    size = math.log(plain.seconds)
    nearest = sorted(past, key=lambda run: abs(math.log(run.estimated) - size))[:_NEAREST]
    factors = [run.factor for run in nearest]
    # a run ten times as long as any before it may scale otherwise: its overhead is not ten times as long
    far = max(1.0, math.exp(abs(math.log(nearest[0].estimated) - size) / 2))
    widen = _WIDEN * (1 + 0.5 / len(factors)) * far
    plural = "run" if len(nearest) == 1 else "runs"
    note = f"time: from {len(nearest)} past {plural} of this kind here"
    return replace(
        plain,
        seconds=plain.seconds * statistics.median(factors),
        low=plain.seconds * min(factors) / widen,
        high=plain.seconds * max(factors) * widen,
        notes=(*plain.notes, note),
    )


def past_runs(request: Manifest, root: Path, estimate: Callable[[Manifest], Estimate]) -> tuple[PastRun, ...]:
    """The newest finished runs under the root that are like the request in kind, device and whether they are sweeps.

    Read once for each state of the root: a form asks at every key.
    """
    try:
        stamp = root.stat().st_mtime_ns
    except OSError:
        return ()
    return _past_runs(root, stamp, request.kind, request.model.device if request.model else "", bool(request.sweep), estimate)


@lru_cache(maxsize=64)
def _past_runs(
    root: Path, stamp: int, kind: str, device: str, swept: bool, estimate: Callable[[Manifest], Estimate]
) -> tuple[PastRun, ...]:
    past_runs: list[PastRun] = []
    for folder in _newest(root):
        status = folder.status()
        if status.kind == kind and status.state == "done" and (run := _past(folder, device, swept, estimate)) is not None:
            past_runs.append(run)
        if len(past_runs) == _RUNS:
            break
    return tuple(past_runs)


def by_kind(root: Path, estimate: Callable[[Manifest], Estimate]) -> dict[str, list[PastRun]]:
    """The newest finished runs under the root by kind, sweeps and pipelines left out: how far estimates were off."""
    found: dict[str, list[PastRun]] = {}
    for folder in _newest(root):
        status = folder.status()
        if status.state != "done" or len(found.get(status.kind, ())) == _RUNS:
            continue
        try:
            manifest = load(folder.manifest_path)
        except (UserError, OSError, ValueError):
            continue
        if not manifest.sweep and not manifest.step and (run := _measured(manifest, folder, estimate)) is not None:
            found.setdefault(status.kind, []).append(run)
    return found


def _newest(root: Path) -> Iterator[RunFolder]:
    try:
        entries = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return
    for _, path in sorted(entries, reverse=True)[:_LOOKED_AT]:
        yield RunFolder(Path(path))


def _past(folder: RunFolder, device: str, swept: bool, estimate: Callable[[Manifest], Estimate]) -> PastRun | None:
    """The run as a measurement, or None: it was resumed, is of another device, or its manifest cannot be read any more."""
    try:
        manifest = load(folder.manifest_path)
    except (UserError, OSError, ValueError):
        return None
    if bool(manifest.sweep) != swept or (manifest.model.device if manifest.model else "") != device:
        return None
    return _measured(manifest, folder, estimate)


def _measured(manifest: Manifest, folder: RunFolder, estimate: Callable[[Manifest], Estimate]) -> PastRun | None:
    seconds, took = estimate(manifest).seconds, _took(folder)
    return PastRun(seconds, took) if seconds and seconds > 0 and took else None


def _took(folder: RunFolder) -> float | None:
    """Seconds from start to end of a run that was done in one go."""
    events = last_events(folder.events_path)
    ended = next((stamped.event for stamped in reversed(events) if isinstance(stamped.event, RunFinished)), None)
    if ended is None or any(isinstance(stamped.event, RunStarted) and stamped.event.resumed for stamped in events):
        return None
    return ended.seconds if math.isfinite(ended.seconds) and ended.seconds > 0 else None


def slowdown(load: float, cores: int) -> float:
    """How much longer work on all cores takes beside `load` other threads that are always ready to run."""
    return max(1.0, (load + cores) / cores)


def _load() -> float:
    """How many threads of this priority the work beside this process comes to, over the last minute; 0 where the system does not say."""
    try:
        load = float(psutil.getloadavg()[0])
    except OSError:
        return 0.0
    return load * _weight(int(time.monotonic() // _LOOKED_AT_FOR)) if load > _SOME else load


@lru_cache(maxsize=1)
def _weight(_: int) -> float:
    """What a process that is ready to run now weighs in the scheduler beside this one, on average; 1 where none is seen.

    A step of niceness is a factor of 1.25 in the share of a core: work at the lowest priority takes next to nothing from a run. Looked at
    once in a while, since a form asks at every key.
    """
    mine, weights = psutil.Process().nice(), []
    for process in psutil.process_iter(["status", "nice"]):
        if process.pid != os.getpid() and process.info["status"] == psutil.STATUS_RUNNING and process.info["nice"] is not None:
            weights.append(1.25 ** (mine - process.info["nice"]))
    return statistics.fmean(weights) if weights else 1.0
