"""Warnings from deep inside a run's work: the worker puts them into the run's log; elsewhere they are Python's. Torch-free."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def warn(text: str) -> None:
    """Say something that a user should know; from any thread."""
    if _listeners:
        _listeners[-1](text)
    else:
        warnings.warn(text, stacklevel=3)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """Inside, what is said goes to the listener, which may be called by any thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
