"""`attach`, `resume`, `pause`, `unpause`, `stop`: watch and steer a run from any terminal that sees its folder."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from .output import out_path, say
from .shared import JsonOption, PlainOption, RunArgument, RunsOption, TrustOption, find

POLL = 0.1


def attach(run: RunArgument, runs: RunsOption = None, plain: PlainOption = False, json: JsonOption = False) -> int:
    """Follow a run; ctrl-c detaches and the run goes on."""
    folder = find(run, runs)
    if not plain and not json and sys.stdin.isatty() and sys.stdout.isatty():
        from interp_tui_engine.runfolder import runs_root

        from ..app import run_app

        return run_app(runs_root(runs), folder.path)
    from . import progress_display
    from .batch import finish

    try:
        status = progress_display.follow(folder, progress_display.choose(folder, as_json=json, plain=plain))
    except KeyboardInterrupt:
        say(f"detached; the run goes on. interp-tui stop {folder.path.name} ends it")
        return 0
    return finish(folder, status, as_json=json)


def resume(
    run: RunArgument,
    runs: RunsOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return.")] = False,
    plain: PlainOption = False,
    json: JsonOption = False,
    trust: TrustOption = False,
) -> int:
    """Go on with a run from its last checkpoint."""
    from interp_tui_engine.trust import set_allowed

    from . import batch

    set_allowed(trust)

    folder = find(run, runs)
    if folder.status().state == "paused":
        from ..runs import session

        session.send(folder, "resume")
        return batch.announce(folder, as_json=json) if detach else attach(str(folder.path), runs, plain, json)
    return batch.resume(folder, batch.Options(runs=runs, as_json=json, plain=plain, detach=detach))


def pause(run: RunArgument, runs: RunsOption = None) -> int:
    """Hold a run where it is; `unpause` goes on."""
    from ..runs import session

    folder = find(run, runs)
    session.send(folder, "pause")
    say(f"asked {folder.path.name} to pause")
    return 0


def unpause(run: RunArgument, runs: RunsOption = None) -> int:
    """Let a paused run go on."""
    from ..runs import session

    folder = find(run, runs)
    session.send(folder, "resume")
    say(f"asked {folder.path.name} to go on")
    return 0


def stop(
    run: RunArgument,
    runs: RunsOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    kill: Annotated[bool, typer.Option("--kill", help="End it at once; it resumes from its last checkpoint.")] = False,
) -> int:
    """Stop a run with a checkpoint, so that it can be resumed."""
    from interp_tui_engine.runfolder import ACTIVE

    from ..runs import session

    folder = find(run, runs)
    session.send(folder, "kill" if kill else "stop")
    say(f"asked {folder.path.name} to {'end at once' if kill else 'stop'}")
    while wait and folder.status().state in ACTIVE:
        time.sleep(POLL)
    if wait:
        say(f"{folder.path.name} is {folder.status().state}; interp-tui resume {folder.path.name} goes on")
    out_path(folder.path)
    return 0
