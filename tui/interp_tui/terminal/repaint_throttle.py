"""How often to repaint: as often as wanted, and more rarely while the terminal cannot keep up. Headless."""

from __future__ import annotations

SLOWEST = 8.0


class Pace:
    """Says when a repaint is due. While the terminal still has output waiting from the last one, the interval doubles; else it recovers."""

    def __init__(self, interval: float) -> None:
        self.wanted = interval
        self.interval = interval
        self._last = float("-inf")

    def due(self, now: float, *, backlog: int = 0) -> bool:
        """Whether to repaint at `now` (seconds, monotonic), with `backlog` writes still on their way to the terminal."""
        if now - self._last < self.interval:
            return False
        if backlog > 1:
            self.interval = min(SLOWEST, self.interval * 2)
            self._last = now
            return False
        self.interval = max(self.wanted, self.interval * 0.7)
        self._last = now
        return True


def backlog_of(driver: object) -> int:
    """Writes that wait to go out to the terminal: Textual's driver keeps them in a queue of a thread. 0 where it has no such thing."""
    queue = getattr(getattr(driver, "_writer_thread", None), "_queue", None)
    size = getattr(queue, "qsize", None)
    return int(size()) if callable(size) else 0
