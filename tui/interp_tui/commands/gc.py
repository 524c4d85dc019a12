"""`gc`: what the runs take on disk, and dropping of it what their results do not need."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .output import columns, out, out_json, say
from .shared import JsonOption, RunsOption

if TYPE_CHECKING:
    from ..runs.disk import DiskUsage

AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
SHOWN = 20
"""Runs that are listed, the largest first."""


def gc(
    runs: RunsOption = None,
    prune: Annotated[bool, typer.Option("--prune", help="Drop arrays and checkpoints of runs that are done; results stay.")] = False,
    older: Annotated[str, typer.Option("--older", metavar="AGE", help="Only runs that ended so long ago: 12h, 30d, 8w.")] = "0d",
    kind: Annotated[str | None, typer.Option("--kind", help="Only runs of this kind.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> int:
    """Show what the runs take on disk; with --prune, drop what their results do not need."""
    from interp_tui_engine.runfolder import runs_root

    from ..runs import disk
    from ..runs.run_index import RunIndex
    from ..terminal import host
    from ..text.numbers import size

    root, least = runs_root(runs), _age(older)
    listed = [run for run in RunIndex(root).refresh() if kind in (None, run.status.kind)]
    used = sorted((disk.usage(run.folder) for run in listed), key=lambda usage: -usage.total)
    old = {run.key for run in listed if run.status.state == "done" and host.now() - run.status.updated >= least}
    prunable = [usage for usage in used if usage.folder.path.name in old and usage.stores]
    left = disk.left_behind(root)
    freeable = sum(usage.stores for usage in prunable) + sum(map(disk.size_of, left))
    freed = None
    if prune and (prunable or left):
        if not (yes or json or _agreed(len(prunable), freeable)):
            say("nothing was dropped")
            return 0
        freed = disk.sweep(root) + sum(disk.prune(usage.folder) for usage in prunable)
    if json:
        rows = [{"path": str(usage.folder.path), "bytes": usage.total, "stores": usage.stores} for usage in used]
        out_json({"runs": rows, "prunable": [str(usage.folder.path) for usage in prunable], "freeable": freeable, "freed": freed})
        return 0
    if freed is not None:
        say(f"{size(freed)} freed: arrays and checkpoints of {len(prunable)} runs; their results, reports and manifests stay")
        return 0
    _table(used)
    total = f"{len(used)} {'run' if len(used) == 1 else 'runs'}, {size(sum(usage.total for usage in used))}"
    out(f"{total}; {size(freeable)} of it are arrays and checkpoints of runs that are done")
    if freeable:
        say("interp-tui gc --prune drops those; the manifests make them again")
    return 0


def _table(used: list[DiskUsage]) -> None:
    from ..text.numbers import size

    rows = [("size", "stores", "run"), *((size(usage.total), size(usage.stores), usage.folder.path.name) for usage in used[:SHOWN])]
    for line in columns(rows, right=(0, 1)):
        out(line)
    if len(used) > SHOWN:
        out(f"and {len(used) - SHOWN} more")


def _agreed(count: int, freeable: int) -> bool:
    """Asked on a terminal only: in a script, --yes says it."""
    from interp_tui_engine.errors import UserError

    from ..text.numbers import size

    if not sys.stdin.isatty():
        raise UserError("--prune drops files", "give --yes as well where nobody can be asked")
    return typer.confirm(f"Drop arrays and checkpoints of {count} runs ({size(freeable)})? Their results stay.", err=True)


def _age(text: str) -> float:
    from interp_tui_engine.errors import UserError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if match is None:
        raise UserError(f"--older {text}: a number of hours, days or weeks, such as 12h, 30d or 8w")
    return float(match[1]) * AGES[match[2]]
