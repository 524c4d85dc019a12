"""Waiting for the app after a key, in place of Textual's pilot.

The pilot waits until every widget on the screen has done what it was given, also those that the key has taken away and an app that it has
ended: these never answer, and the wait ends in a fault after half a minute.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from textual.message_pump import MessagePump
from textual.widget import Widget

LOOK_AGAIN = 0.2
"""Seconds after which a widget without an answer may be one that has gone."""


async def answered(pilot: Any, timeout: float = 120.0) -> bool:
    """Wait until the app, its screen and every widget on it that stays have done what they were given before; False where it has ended.

    Raises TimeoutError, with those that do not answer, after `timeout` seconds.
    """
    app, end = pilot.app, time.monotonic() + timeout
    try:
        asked = [app, *app.screen.walk_children(with_self=True)]
    except Exception:  # no screen: it ends, or never began
        return False
    silent, all_answered = set[MessagePump](), asyncio.Event()

    def answer(pump: MessagePump) -> None:
        silent.discard(pump)
        if not silent:
            all_answered.set()

    for pump in asked:
        silent.add(pump)
        if not pump.call_later(answer, pump):
            silent.discard(pump)
    while silent:
        with suppress(TimeoutError):
            await asyncio.wait_for(all_answered.wait(), LOOK_AGAIN)
        if not app.is_running or app._exception is not None:
            return False
        silent -= {pump for pump in silent if _has_gone(pump)}
        if silent and time.monotonic() > end:
            raise TimeoutError(f"no answer from {', '.join(map(repr, sorted(silent, key=repr)[:5]))}")
    return True


def _has_gone(pump: MessagePump) -> bool:
    return not pump.is_running or (isinstance(pump, Widget) and not pump.is_attached)
