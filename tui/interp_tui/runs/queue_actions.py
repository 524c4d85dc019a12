"""What can be done to what waits and runs, from the Queue screen. Headless; each may wait for a process, so it is called from a thread."""

from __future__ import annotations

from interp_tui_engine.errors import UserError

from . import session
from .queue_look import QueueItem


def may(action: str, item: QueueItem | None) -> bool:
    """Whether the action does something to this run or task."""
    if item is None:
        return False
    waits, in_slurm = item.state in ("queued", "held"), item.scheduler == "slurm"
    return {
        "hold": in_slurm and waits,
        "requeue": in_slurm and not waits,
        "cancel": in_slurm or (not waits and item.folder is not None),
        "up": item.position > 1,
        "down": item.position > 0,
        "remove": item.position > 0,
    }.get(action, True)


def hold(item: QueueItem) -> str:
    """Keep a task that waits in Slurm from starting, or let it start again; returns what was done."""
    from interp_tui_engine.supervision.executors import slurm_commands

    held = item.state == "held"
    (slurm_commands.release if held else slurm_commands.hold)(item.job)
    return "Released" if held else "Held; h releases it"


def requeue(item: QueueItem) -> str:
    """Put a running task back into Slurm's queue."""
    from interp_tui_engine.supervision.executors import slurm_commands

    slurm_commands.requeue(item.job)
    return "Back in the queue; it goes on from its checkpoint"


def cancel(item: QueueItem) -> str:
    """Take a task out of Slurm, as scancel does; have a run that goes on here stop with a checkpoint."""
    from interp_tui_engine.supervision.executors import slurm_commands

    if item.scheduler == "here" and item.folder is not None:
        session.send(item.folder, "stop")
    else:
        slurm_commands.cancel([item.job])
    return "Stops at its next step, with a checkpoint" if item.state not in ("queued", "held") else "Cancelled"


def move(item: QueueItem, by: int) -> None:
    """Put a run that waits here earlier or later."""
    from interp_tui_engine import run_queue

    run_queue.move(_path(item), max(1, item.position + by))


def remove(item: QueueItem) -> None:
    """Take a run that waits here out of the queue; its folder stays."""
    from interp_tui_engine import run_queue

    run_queue.remove(_path(item))


def pause(on: bool) -> None:
    """Have this machine's queue start no more runs, or go on."""
    from interp_tui_engine import run_queue, supervisor

    run_queue.pause(on)
    run_queue.advance(supervisor.launch)


def _path(item: QueueItem) -> str:
    if item.folder is None:
        raise UserError("it has no run folder here")
    return str(item.folder.path)
