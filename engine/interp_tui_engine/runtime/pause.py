"""The one pause loop: what is to be done next, once a run is no longer paused. Torch-free."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .context import Context, Interrupted, Order

LOOK_EVERY = 0.05
"""Seconds between two looks at the orders of a paused run."""
SLEEP_STEP = 0.2
"""Seconds slept between two looks at the orders of a run that waits."""


def next_order(poll: Callable[[], Order]) -> Order:
    """The first order that is not to pause."""
    while (order := poll()) == "pause":
        time.sleep(LOOK_EVERY)
    return order


def wait_while_paused(context: Context, save: Callable[[], None] = lambda: None) -> Order:
    """What is to be done now, once a pause is over. Raises Interrupted, after saving, when that is to stop."""
    order = next_order(context.poll)
    if order == "stop":
        save()
        raise Interrupted
    return order


def sleep_unless_stopped(context: Context) -> Callable[[float], None]:
    """A sleep of some seconds, for waiting on a busy server, that a pause lengthens. It raises Interrupted when the run is to stop."""

    def sleep(seconds: float) -> None:
        for _ in range(math.ceil(seconds / SLEEP_STEP)):
            wait_while_paused(context)
            time.sleep(SLEEP_STEP)

    return sleep
