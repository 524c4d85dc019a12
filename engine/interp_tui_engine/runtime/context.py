"""What a running kind is given, as `kind` defines it, and how it reads times and sizes. Torch-free."""

from __future__ import annotations

import time

from ..kind import Context as Context
from ..kind import Interrupted as Interrupted
from ..kind import Order as Order


def parse_interval(text: str) -> float | None:
    """Seconds in '30s', '5min' or '1h'; None for 'auto'."""
    if text == "auto":
        return None
    for unit, seconds in (("min", 60.0), ("h", 3600.0), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * seconds
    raise ValueError(text)


def parse_bytes(text: str) -> int | None:
    """Bytes in '256MiB', '1GB', …; None for 'auto'."""
    if text == "auto":
        return None
    for unit, size in (("MiB", 2**20), ("GiB", 2**30), ("MB", 10**6), ("GB", 10**9)):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * size)
    raise ValueError(text)


class Ticker:
    """Says when `seconds` have passed since it last said so."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._next = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.seconds
        return True
