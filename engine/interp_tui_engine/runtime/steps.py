"""Work in steps that are not done twice: each gives numbers, which are kept, so that a run killed anywhere goes on with the next step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import atomic
from ..digests import of_step_array
from ..events import ArrayWritten, Artifact, Checkpoint, Event, Progress
from .context import Context, Interrupted, Ticker
from .pause import wait_while_paused

Step = TypeVar("Step")
Numbers = NDArray[np.float32]
SAVE_EVERY = 1.0
PLAN = "plan"
"""Under which name the sizes of all steps stand beside the numbers of those done."""


class Steps(Generic[Step]):
    """The steps of a run, in an order that follows from its manifest, and the numbers of those done.

    do(step) gives the step's numbers, a one-dimensional float32 array; say(index, step, numbers) the events that tell of it, which must be
    the same when a resumed run tells them again. Stages of one run keep their steps under different names.
    """

    def __init__(self, context: Context, steps: Sequence[Step], *, unit: str, size: Callable[[Step], int], name: str = "steps") -> None:
        self._context, self._steps, self._unit, self._size = context, steps, unit, size
        self._path = context.checkpoint_path / f"{name}.npz"
        self._plan = [size(step) for step in steps]
        self.done: list[Numbers] = self._read()

    def run(
        self, do: Callable[[Step], Numbers], say: Callable[[int, Step, Numbers], Sequence[Event]]
    ) -> Generator[Event, None, list[Numbers]]:
        """Do what is left, saying how far it is. Raises Interrupted, with all that is done kept, after a stop."""
        for index, numbers in enumerate(self.done):
            yield from say(index, self._steps[index], numbers)
        total, units = sum(map(self._size, self._steps)), sum(map(self._size, self._steps[: len(self.done)]))
        save, started, before = Ticker(SAVE_EVERY), time.monotonic(), units
        save.due()
        yield Progress(units, total, self._unit)
        for index in range(len(self.done), len(self._steps)):
            order = wait_while_paused(self._context, self._save)
            step = self._steps[index]
            try:
                self.done.append(np.asarray(do(step), np.float32))
            except Interrupted:
                if self._context.poll() == "stop":  # the step was cut short by it: those before are whole
                    self._save()
                raise
            if order == "checkpoint" or save.due():
                self._save()
                yield Checkpoint("checkpoint", index + 1)
            yield from say(index, step, self.done[-1])
            units += self._size(step)
            spent = time.monotonic() - started
            yield Progress(units, total, self._unit, spent / (units - before) * (total - units) if units > before else None)
        self._save()
        return self.done

    def _read(self) -> list[Numbers]:
        try:
            with np.load(self._path) as held:
                if PLAN in held and held[PLAN].tolist() != self._plan:
                    return []  # the work is cut into other steps, as where a device has less memory free: these numbers are not theirs
                return [held[f"s{i}"] for i in range(min(len(held.files) - (PLAN in held), len(self._steps)))]
        except (OSError, ValueError, KeyError):
            return []

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(self._path) as beside, beside.open("wb") as file:
            done = {f"s{i}": numbers for i, numbers in enumerate(self.done)}
            np.savez(file, **{PLAN: np.array(self._plan)}, **done)  # type: ignore[arg-type]


def write_arrays(
    folder: Path, name: str, arrays: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]], attrs: Mapping[str, Any]
) -> list[Event]:
    """Write named arrays with their dimensions as one Zarr group, readable by `xr.open_datatree`; the events that say so."""
    import xarray as xr

    dataset = xr.Dataset({key: (dims, values) for key, (dims, values) in arrays.items()}, attrs=dict(attrs))
    with atomic.replacing(folder / name) as beside:
        dataset.to_zarr(beside, mode="w", consolidated=False)
    return [
        ArrayWritten(f"{name}/{key}", dims, tuple(values.shape), values.shape[0] if values.ndim else None)
        for key, (dims, values) in arrays.items()
    ]


def write_figure(folder: Path, name: str, svg: str, title: str) -> Artifact:
    """Write a figure of a run, `name`.svg; the event that says so."""
    path = folder / "figures" / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    atomic.write_text(path, svg)
    return Artifact(f"figures/{path.name}", title)


def digests(store: str, arrays: Mapping[str, tuple[tuple[str, ...], NDArray[Any]]]) -> dict[str, str]:
    """The digest of every array of a store, as results name them."""
    return {f"{store}/{name}": of_step_array(values) for name, (_, values) in arrays.items()}
