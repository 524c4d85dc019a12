"""Lets work that reports through callbacks appear as a generator of events: it runs on a thread, its reports come out of a queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from ..events import Event

T = TypeVar("T")


class _Outcome(Generic[T]):
    value: T
    error: BaseException | None = None


def stream(work: Callable[[Callable[[Event], None]], T]) -> Generator[Event, None, T]:
    """Run `work(emit)` on a thread and yield what it emits, in order; returns its value, or raises what it raised."""
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    outcome: _Outcome[T] = _Outcome()

    def run() -> None:
        try:
            outcome.value = work(events.put)
        except BaseException as error:
            outcome.error = error
        finally:
            events.put(None)

    thread = threading.Thread(target=run, name="experiment", daemon=True)
    thread.start()
    while (event := events.get()) is not None:
        yield event
    thread.join()
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
