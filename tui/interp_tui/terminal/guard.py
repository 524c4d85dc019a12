"""Keeps the app going when a handler, a view, a timer or a background task of it fails.

Textual ends an app at the first exception that a handler raises. Here a fault is logged and reported in a notice, and the app goes on;
only faults that come faster than anyone could cause them by hand end it. The parts of Textual that are overridden are private: tests pin
what they do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from textual.app import ScreenStackError
from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.message_pump import MessagePump

from . import crash_log

if TYPE_CHECKING:
    from textual.message import Message

FAULTS_AT_MOST = 12
"""Faults within `WITHIN_SECONDS` from which on going on is pointless, such as a screen that fails each time it is drawn."""
LEAVE_AFTER = 3
"""Faults within `WITHIN_SECONDS` after which the screen that shows is left."""
WITHIN_SECONDS = 10.0


class FaultCount:
    """How many faults there were of late."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=FAULTS_AT_MOST)

    def add(self, now: float) -> int:
        """Count one more at `now`, in seconds; returns how many there were within the last `WITHIN_SECONDS`, this one too."""
        self._times.append(now)
        return sum(now - at <= WITHIN_SECONDS for at in self._times)


class Guarded(MessagePump):
    """Mixed into the app, its screens, views and widgets: a handler that raises costs that one message, not the app.

    Textual stops reading the messages of a widget whose handler raised; caught here, it goes on reading them.
    """

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as fault:
            survive = getattr(self.app, "survive", None)
            if survive is None or not survive(fault, self, message):
                raise


async def unbroken(work: Awaitable[object]) -> None:
    """Wait for work that takes widgets away; where the wait is cancelled, as a screen is left, the work goes on to its end.

    Textual hands a cancellation on to the message loops of those widgets. They stay where they were, as cancelled ones, and whatever waits
    for them later raises: the removal of their screen, and the app's own end.
    """

    async def to_its_end() -> None:
        await work

    task = asyncio.create_task(to_its_end())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # else asyncio reports that nobody asked
    await asyncio.shield(task)


def stopped_pump(fault: BaseException) -> MessagePump | None:
    """The widget whose message loop the fault ended, or kept from beginning, if it went through one: the app itself as it starts."""
    trace: TracebackType | None = fault.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in {"_process_messages_loop", "_pre_process", "_process_messages"}:
            pump = trace.tb_frame.f_locals.get("self")
            return pump if isinstance(pump, MessagePump) else None
        trace = trace.tb_next
    return None


def cause_of(fault: BaseException) -> BaseException:
    """The exception itself: that of a background task comes wrapped."""
    cause = getattr(fault, "error", None)
    return cause if isinstance(cause, BaseException) else fault


def taken_down(fault: BaseException, screens: list[Any]) -> bool:
    """Whether all that failed was looking for a part of a screen that had been closed meanwhile; `screens` are those that are open."""
    cause = cause_of(fault)
    trace = cause.__traceback__
    if isinstance(cause, ScreenStackError):
        return not screens
    if not isinstance(cause, NoMatches):
        return False
    while trace is not None:
        node = trace.tb_frame.f_locals.get("self")
        if isinstance(node, DOMNode) and (not node.is_attached or not any(screen in screens for screen in node.ancestors_with_self)):
            return True
        trace = trace.tb_next
    return False


def described(fault: BaseException) -> tuple[str, str]:
    """A fault in one line, and where its traceback was written."""
    cause = cause_of(fault)
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0]}" if text else type(cause).__name__, crash_log.record(cause)
