"""Work on many rows at once, in halves where that does not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..errors import RunFailed, out_of_memory

Rows = TypeVar("Rows")
"""A list or a tensor: anything with a length and slices of its own kind."""
Done = TypeVar("Done")


def in_halves(rows: Rows, compute: Callable[[Rows], Done]) -> Iterator[tuple[Rows, Done]]:
    """(some of the rows, `compute` of them) in their order: all at once, or halves of halves for which memory is enough.

    `compute` changes nothing before it succeeds. Raises RunFailed where one row does not fit.
    """
    todo: list[Any] = [rows]
    while todo:
        now = todo.pop()
        try:
            done = compute(now)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if len(now) <= 1:
                advice = "Use a shorter context, a smaller model or dictionary, or another device."
                raise RunFailed("out of memory with one row at a time", advice) from error
        else:
            yield now, done
            continue
        middle = len(now) // 2  # outside the handler, whose error holds what was computed so far
        todo += [now[middle:], now[:middle]]
