"""ctrl+z beside a display that has hidden the cursor: the shell gets it back, and `fg` hides it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def around_stops(leave: Callable[[], None], back: Callable[[], None]) -> Iterator[None]:
    """While inside, `leave` is called before ctrl+z stops the process, and `back` when it goes on. Outside the main thread, nothing is."""

    def stop(number: int, frame: FrameType | None) -> None:
        leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # returns when the process goes on
        signal.signal(number, stop)
        back()

    try:
        before = signal.signal(signal.SIGTSTP, stop)
    except (AttributeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)
