"""Work on many rows at once: as many as the free memory of their device allows, and half as many each time that it does not suffice.

How many rows pass a model together decides the last bits of what they give. It is the same from run to run on one machine: what is wanted
or, where memory is short, what a power of two of bytes holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist

from .. import notices
from ..errors import RunFailed, out_of_memory
from .device import free_memory

Rows = TypeVar("Rows")
"""A list, a range or a tensor: anything with a length and slices of its own kind."""
Done = TypeVar("Done")
ON_A_CPU = 512 << 20
"""Most bytes that rows which pass a model together take on a CPU: far more than keeps it busy."""
SHARE = 4
"""They take one such part of a device's free memory at most: what a row takes is known roughly."""


def budget(device: torch.device) -> int:
    """Bytes that rows which pass a model together may take: a quarter of what is free, rounded down to a power of two.

    Of processes that hold a model together it is the least: they must all cut their work alike.
    """
    free = free_memory(device)
    if _together():
        least = torch.tensor([free], dtype=torch.int64)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        free = int(least)
    rounded = 1 << max(0, (free // SHARE).bit_length() - 1)
    return min(rounded, ON_A_CPU) if device.type == "cpu" else rounded


@final
class FittingRows:
    """How many rows pass a model together: at most `most`, and no more than fit; fewer for good once that turns out to be too many."""

    def __init__(self, device: torch.device, bytes_of_row: int, most: int) -> None:
        self.count = max(1, min(most, budget(device) // max(1, bytes_of_row)))

    def each(self, rows: Rows, compute: Callable[[Rows], Done]) -> Iterator[tuple[Rows, Done]]:
        """(some of the rows, `compute` of them) in their order. `compute` changes nothing before it succeeds.

        Raises RunFailed where one row does not fit.
        """
        given: Any = rows
        start = 0
        while start < len(given):
            wanted, sizes = given[start : start + self.count], []
            for some, done in in_halves(wanted, compute):
                sizes.append(len(some))
                yield some, done
            start += len(wanted)
            if len(sizes) > 1:  # so much does not fit: it is not tried again
                self.count = min(self.count, max(sizes))


def in_halves(rows: Rows, compute: Callable[[Rows], Done]) -> Iterator[tuple[Rows, Done]]:
    """(some of the rows, `compute` of them) in their order: all at once, or halves of halves for which memory is enough.

    `compute` changes nothing before it succeeds. Raises RunFailed where one row does not fit, or where other processes hold parts of the
    model, which would go on with all rows.
    """
    todo: list[Any] = [rows]
    too_many = sys.maxsize
    while todo:
        now = todo.pop()
        if 1 < len(now) >= too_many:
            todo += _halves(now)
            continue
        try:
            done = compute(now)
        except Exception as error:
            _need_halves(error, len(now))
        else:
            yield now, done
            continue
        too_many = len(now)  # outside the handler, whose error holds what was computed so far
        _tell(too_many)
        todo += _halves(now)


def in_smaller_passes(rows: int, compute: Callable[[int], Done]) -> Done:
    """`compute` with so many rows at a time, from the beginning again with half as many until memory is enough. Raises as `in_halves`."""
    while True:
        try:
            return compute(rows)
        except Exception as error:
            _need_halves(error, rows)
        _tell(rows)
        rows -= rows // 2


def _need_halves(error: Exception, rows: int) -> None:
    """Raise what fewer rows do not help against."""
    if not out_of_memory(error):
        raise error
    if _together():
        advice = "Use a smaller batch, a shorter context, or more devices."
        raise RunFailed("out of memory on one of the devices that hold the model", advice) from error
    if rows <= 1:
        advice = "Use a shorter context, a smaller model or dictionary, or another device."
        raise RunFailed("out of memory with one row at a time", advice) from error


def _tell(rows: int) -> None:
    notices.warn(f"out of memory with {rows:,} rows at a time: they now run in parts of at most {rows - rows // 2:,}")


def _halves(rows: Any) -> list[Any]:
    """The second, then the first."""
    middle = len(rows) // 2
    return [rows[middle:], rows[:middle]]


def _together() -> bool:
    """Whether this process holds a model together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
