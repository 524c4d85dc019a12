"""A kind that runs many of another's runs, one after another in one process: what they would refuse, and what they cost. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...catalog import Estimate
from ...errors import ManifestError, Problem
from ...manifest import Manifest
from ...runtime import cost


def problems(distinct: Mapping[str, tuple[Sequence[Any], str]], first: Callable[[], Manifest]) -> list[Problem]:
    """Values given twice, and what the first of the runs would refuse.

    distinct: params that list what differs from run to run, with what to call one of their values. first: makes that run's manifest.
    """
    wrong = [
        Problem(f"params.{name}", f"holds {noun} twice", value=list(values))
        for name, (values, noun) in distinct.items()
        if len(set(values)) < len(values)
    ]
    try:
        first()
    except ManifestError as error:
        wrong += [Problem(p.path, p.message, None, p.value, p.suggestion) for p in error.problems]
    return wrong


def estimate(run: Estimate, count: int, noun: str) -> Estimate:
    """Of `count` runs that each cost what `run` does, but for the start that they share. noun: what to call them."""
    seconds = None if run.seconds is None else cost.START_SECONDS + count * max(0.0, run.seconds - cost.START_SECONDS)
    disk = None if run.disk_bytes is None else run.disk_bytes * count
    return Estimate(seconds, run.memory_bytes, disk, (*run.notes, f"{count} {noun}"))
