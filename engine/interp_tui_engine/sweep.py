"""A sweep: one manifest with some of its keys over several values, a child run for each combination. Torch-free.

    [sweep]
    "params.lr" = [1e-5, 1e-4]
    "model.revision" = ["step-0", "final"]

The points are the product of the axes, the last axis fastest. What a point asks for is a manifest like any other. In a pipeline an axis may
be a key of a step, by the step's id: `"step.train.params.k" = [8, 16]`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import Problem
from .manifest_types import SWEEP
from .pipeline import step_called
from .toml_lines import split_key
from .validation_errors import nearest

KIND = SWEEP
MAX_POINTS = 1000
"""More are most likely a mistake: a thousand runs of a minute take a night."""
SWEPT = ("seed", "model", "data", "params", "compute")
STEP = "step"
IN_STEP = ("seed", "model", "data", "params")
"""What of a pipeline's step can be swept."""


@dataclass(frozen=True)
class Axis:
    """One swept key: as written, as a path into the manifest's tables, and its values."""

    key: str
    path: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One combination of values, by key, and its place in the product."""

    index: int
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder: numbered, so that folders sort as the points do."""
        return f"{self.index:03d}"


def axes_of(table: Mapping[str, Any], steps: Sequence[Any] = ()) -> tuple[list[Axis], list[Problem]]:
    """The axes of a [sweep] table beside a pipeline's [[step]] tables, and what is wrong with it."""
    axes, problems = [], []
    for key, values in table.items():
        try:
            path = split_key(key)
        except ValueError:
            path = ()
        problem = _place_problem(key, path, steps) or _values_problem(key, values)
        if problem is None:
            axes.append(Axis(key, path, tuple(values)))
        else:
            problems.append(problem)
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_POINTS:
        problems.append(Problem("sweep", f"makes {count:,} runs, more than {MAX_POINTS:,}; shorten an axis"))
    if not table:
        problems.append(Problem("sweep", 'is empty; give it an axis, such as "params.lr" = [1e-5, 1e-4]'))
    return axes, problems


def _place_problem(key: str, path: tuple[str, ...], steps: Sequence[Any]) -> Problem | None:
    """What is wrong with where an axis points, if anything."""
    at = f"sweep.{key}"
    if not (path and path[0] == STEP and steps):
        message = f'sweeps {key!r}; an axis is a key of {", ".join(SWEPT)}, such as "params.lr"'
        return Problem(at, message, suggestion=nearest(path[0], SWEPT) if path else None) if not path or path[0] not in SWEPT else None
    names = [str(step.get("id") or step.get("kind")) for step in steps if isinstance(step, Mapping)]
    if len(path) > 1 and step_called(steps, path[1]) is None:
        return Problem(at, f"{path[1]!r} is none of the steps: {', '.join(names)}", suggestion=nearest(path[1], names))
    if len(path) < 3 or path[2] not in IN_STEP:
        message = f'sweeps {key!r}; an axis into a step is a key of its {", ".join(IN_STEP)}, such as "step.{names[0]}.params.k"'
        return Problem(at, message, suggestion=nearest(path[2], IN_STEP) if len(path) > 2 else None)
    return None


def _values_problem(key: str, values: Any) -> Problem | None:
    """What is wrong with the values of an axis, if anything."""
    if not isinstance(values, list) or not values:
        return Problem(f"sweep.{key}", "must be a list of values, such as [1e-5, 1e-4]", value=values)
    twice = any(value in values[:i] for i, value in enumerate(values))
    return Problem(f"sweep.{key}", "holds a value twice", value=values) if twice else None


def points_of(axes: list[Axis]) -> Iterator[Point]:
    """Every combination of the axes' values, the last axis fastest."""
    for index, values in enumerate(itertools.product(*(axis.values for axis in axes))):
        yield Point(index, {axis.key: value for axis, value in zip(axes, values, strict=True)})


def with_values(tables: Mapping[str, Any], axes: list[Axis], point: Point) -> dict[str, Any]:
    """The tables of one point: those of the sweep less [sweep], its values in their places, on one of the sweep's devices."""
    filled: dict[str, Any] = {key: copy.deepcopy(value) for key, value in tables.items() if key != "sweep"}
    if devices := devices_of(tables):
        filled["compute"].pop("devices")
        if isinstance(filled.get("model"), dict):
            filled["model"]["device"] = devices[point.index % len(devices)]
    for axis in axes:
        table, path = filled, axis.path
        if path[0] == STEP:
            table, path = step_called(filled[STEP], path[1]), path[2:]
        for part in path[:-1]:
            below = table.get(part)
            table[part] = below if isinstance(below, dict) else {}
            table = table[part]
        table[axis.path[-1]] = point.values[axis.key]
    return filled


def devices_of(tables: Mapping[str, Any]) -> list[str]:
    """The devices that the points are dealt out to, in turn; none when it is left to each point."""
    compute = tables.get("compute")
    devices = compute.get("devices") if isinstance(compute, Mapping) else None
    usable = isinstance(devices, list) and all(isinstance(device, str) for device in devices)
    return list(devices) if usable and devices else []


def value_at(tables: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path; None where there is none."""
    value: Any = tables
    if path[0] == STEP:
        value, path = step_called(tables.get(STEP) or (), path[1]), path[2:]
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
