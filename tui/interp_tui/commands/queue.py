"""`interp-tui queue`: runs that wait in order for a free device of this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from interp_tui_engine.errors import UserError
from interp_tui_engine.user_folders import queue_file

from .output import columns, out, out_path, say
from .shared import RunsOption, SetOption

ACTIONS = {
    "add": "M.toml…: put runs of these manifests, or run folders that can go on, at the end",
    "list": "show what runs from the queue, and what waits",
    "move": "RUN POSITION: 1 is next",
    "pause": "start no more runs; those that run go on",
    "unpause": "go on",
    "remove": "RUN…: take runs out; their folders stay",
}

ActionArgument = Annotated[str, typer.Argument(metavar="add|list|move|pause|unpause|remove", help="What to do.")]
WordsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[WORD]…", help="Manifests for add; RUN POSITION for move; RUN… for remove.")
]


def queue(action: ActionArgument = "list", words: WordsArgument = None, runs: RunsOption = None, set_: SetOption = None) -> int:
    """Let runs wait in order for a free GPU (or, without one, for each other); they survive logout and reboot."""
    from interp_tui_engine import run_queue

    given = words or []
    match action, given:
        case "add", [_, *_]:
            _add(given, runs, tuple(set_ or ()))
        case "list", []:
            pass
        case "move", [run, position] if position.isdecimal():
            run_queue.move(run, int(position))
        case (("pause" | "unpause"), []):
            run_queue.pause(action == "pause")
        case "remove", [_, *_]:
            for run in given:
                out_path(run_queue.remove(run).path)
        case _:
            usage = ACTIONS.get(action)
            what = f"queue {action} {usage}" if usage else f"queue {action}: one of {', '.join(ACTIONS)}"
            raise UserError(what, "interp-tui queue --help")
    keep_going()
    if action == "list":
        _list()
    return 0


def keep_going() -> None:
    """Start what waits on devices that are free: whoever comes by does that."""
    from interp_tui_engine import run_queue, supervisor

    for folder in run_queue.advance(supervisor.launch):
        say(f"the queue started {folder.path.name}")


def pass_by() -> None:
    """`keep_going` without a word, from a command that is about something else: `interp-tui queue` says what is wrong with the queue."""
    if not queue_file().exists():  # then what starts runs need not be imported
        return
    from interp_tui_engine import run_queue, supervisor

    with contextlib.suppress(UserError, OSError):
        run_queue.advance(supervisor.launch)


def _add(words: list[str], runs: Path | None, overrides: tuple[str, ...]) -> None:
    from interp_tui_engine import manifest, run_queue, supervisor
    from interp_tui_engine.runfolder import RunFolder, new_run_path, runs_root

    folders = []
    requests = [(word, None if _is_run(Path(word)) else manifest.load(Path(word), overrides)) for word in words]  # all valid, or none added
    for word, request in requests:
        run_queue.need_one_device(request or manifest.load(Path(word)))
        folder = RunFolder.open(Path(word)) if request is None else None
        if folder is not None and not folder.status().resumable:
            raise UserError(f"{folder.path.name} is {folder.status().state}", "only runs that can go on wait in the queue")
        folders.append(folder or supervisor.prepare(request, new_run_path(runs_root(runs), request.kind, request.name)))  # type: ignore[union-attr,arg-type]
    run_queue.add(folders)
    for folder in folders:
        out_path(folder.path)


def _is_run(path: Path) -> bool:
    return (path / "status.json").is_file()


def _list() -> None:
    from interp_tui_engine import run_queue

    folders = run_queue.waiting()
    running = [(f"on {device}", folder) for device, folder in run_queue.running().items()]
    waiting = [(f"{place}.", folder) for place, folder in enumerate(folders, start=1)]
    for line in columns([place, folder.path.name, str(folder.path)] for place, folder in (*running, *waiting)):
        out(line)
    held = " · the queue is paused" if run_queue.is_paused() else ""
    say(f"{len(folders) or 'no'} {'run waits' if len(folders) == 1 else 'runs wait'}{held}")
