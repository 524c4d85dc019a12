"""A run killed at random moments, or while it is prepared, and resumed has the numbers of one that never was: every kind, every victim.

The run that others are held to is made by processes of its own, unless it should be quick; those that are killed are forks (`forked` says
what that leaves out).
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from . import forked
from .check import Check
from .requests import kinds, small
from .steps import killed_at, noticing

VICTIMS = ("worker", "supervisor", "both", "preparation")
QUICK = ("logit_lens",)
KILLS = 3
"""In one series, at moments spread over the length of a whole run."""
PREPARATION_STEPS = 4
"""At how many of the steps that make a run folder, drawn anew for each request; test_preparation.py tries them all."""
SHORTEST = 0.03
"""Seconds after which even a run of no length is killed."""


def parts(quick: bool) -> Sequence[str]:
    """Every kind, and a run on two workers and a sweep beside them."""
    return QUICK if quick else (*kinds(), *MORE)


MORE: dict[str, dict[str, Any]] = {
    "llc on two workers": {"compute": {"devices": ["cpu", "cpu"]}},
    "susceptibilities on two workers": {"compute": {"devices": ["cpu", "cpu"]}},
    "logit_lens as a sweep": {"sweep": {"model.revision": ["step-0", "final"]}},
}
"""Requests beside one of each kind, by names that begin with the kind's: what they add to it."""


def request_of(name: str) -> Any:
    """The manifest of a request: small, with a checkpoint every moment."""
    from interp_tui_engine import manifest

    more = MORE.get(name, {})
    tables, compute = small(name.split(" ")[0]), {"checkpoint_every": "0.2s", **more.get("compute", {})}
    if "devices" in compute:
        del tables["model"]["device"]  # both say where
    return manifest.resolve({**tables, **more, "compute": compute})


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each victim of the request."""
    from interp_tui_engine import supervisor

    draw, request = random.Random(f"{seed} {name}"), request_of(name)
    with tempfile.TemporaryDirectory() as place:
        whole = supervisor.prepare(request, Path(place) / "whole")
        status = _ended(whole).status() if quick else supervisor.supervise(whole)
        if status.state != "done":
            yield Check(f"{name}, whole", False, str(status.exit))
            return
        again = supervisor.prepare(request, Path(place) / "again")
        began = time.monotonic()
        forked.supervisor_of(again).wait()
        length = time.monotonic() - began
        numbers = numbers_of(whole)
        yield compared(f"{name}, not killed", again, numbers, 0)
        for victim in VICTIMS[1:2] if quick else VICTIMS:
            yield _series(name, victim, request, Path(place) / victim, numbers, length, draw)


def _series(name: str, victim: str, request: Any, path: Path, numbers: Any, length: float, draw: random.Random) -> Check:
    from interp_tui_engine import supervisor

    what = f"{name}, {victim}"
    if victim == "preparation":
        return _prepared(what, request, path, numbers, draw)
    folder, kills = supervisor.prepare(request, path), 0
    for _ in range(KILLS):
        kills += _killed(folder, victim, max(SHORTEST, draw.uniform(0.05, 0.7) * length))
    if not kills:  # the machine was quicker than the run before: once more, with a run that cannot have ended
        folder = supervisor.prepare(request, path.with_name(f"{path.name}-again"))
        kills += _killed(folder, victim, SHORTEST)
    return compared(what, _ended(folder), numbers, kills) if kills else Check(what, False, "was not killed: it ended before")


def _prepared(what: str, request: Any, path: Path, numbers: Any, draw: random.Random) -> Check:
    """Kill the making of the run folder at some of its steps; each leaves a free place or a run folder, and one of them is run."""
    from interp_tui_engine import supervisor
    from interp_tui_engine.runfolder import RunFolder, is_free

    count = _steps_of_making(request, path.with_name(f"{path.name}-counted"))
    steps = draw.sample(range(count), min(count, PREPARATION_STEPS))
    places = [path.with_name(f"{path.name}-{step}") for step in steps]
    for step, place in zip(steps, places, strict=True):
        if not killed_at(step, partial(supervisor.prepare, request, place)):
            return Check(what, False, f"making the run folder has no step {step} of {count}")
        if not is_free(place) and not RunFolder(place).manifest_path.exists():
            return Check(what, False, f"killed at step {step} it left what is no run and not free")
    place = draw.choice(places)
    folder = supervisor.prepare(request, place) if is_free(place) else RunFolder(place)
    return compared(what, _ended(folder), numbers, len(steps))


def _steps_of_making(request: Any, path: Path) -> int:
    from interp_tui_engine import supervisor

    count = 0

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1

    with noticing(note):
        supervisor.prepare(request, path)
    return count


def _killed(folder: Any, victim: str, after: float) -> bool:
    """Start the run and kill the victim after a while, or as soon as there is a worker; False where it ended before."""
    if folder.status().state == "done":
        return False
    process = forked.supervisor_of(folder)
    end = time.monotonic() + after
    while process.poll() is None:
        # the moment first: to look for children is to go through all processes of the machine
        if time.monotonic() < end or not ((workers := psutil.Process(process.pid).children()) or victim == "supervisor"):
            time.sleep(0.005)
            continue
        if victim != "worker":
            process.kill()
        if victim != "supervisor":
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
        process.wait()
        return True
    return False


def _ended(folder: Any) -> Any:
    """The folder, run to its end."""
    if folder.status().state != "done":
        forked.supervisor_of(folder).wait()
    return folder


def compared(what: str, folder: Any, numbers: Any, kills: int) -> Check:
    """Whether a run is done with these numbers."""
    state, found = folder.status().state, numbers_of(folder)
    equal = found == numbers
    note = f"{kills} kills" if equal and state == "done" else f"{state}: {_first_difference(numbers, found)} after {kills} kills"
    return Check(what, state == "done" and equal, note)


def numbers_of(folder: Any) -> Any:
    """Digests of the arrays, and every number of the result but those of time."""
    from interp_tui_engine import untrusted

    recorded = (untrusted.table_or_none(folder.manifest_path) or {}).get("result", {})
    return {"sha256": recorded.get("sha256"), "result": _without_times(folder.result() or {})}


NOT_COMPARED = ("seconds", "name", "path", "folder", "took")
TIMES = ("_seconds", "_per_second")
"""How the names of times end: a run that was killed takes longer."""


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if key not in NOT_COMPARED and not str(key).endswith(TIMES)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _first_difference(left: Any, right: Any, path: str = "") -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                return _first_difference(left.get(key), right.get(key), f"{path}.{key}")
    return f"{path} {str(left)[:60]} / {str(right)[:60]}"
