"""`replay`: run a run's manifest again, and compare what came out bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import columns, event, out, out_path, say
from .shared import JsonOption, PlainOption, RunArgument, RunsOption, TrustOption, find

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder


def replay(
    run: RunArgument,
    check: Annotated[bool, typer.Option("--check", help="Compare the sha256 of every array; exit 1 if any differs.")] = False,
    to: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder to make.")] = None,
    runs: RunsOption = None,
    plain: PlainOption = False,
    json: JsonOption = False,
    trust: TrustOption = False,
) -> int:
    """Run a run's manifest again, in a new folder."""
    from interp_tui_engine import manifest, supervisor
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.runfolder import new_run_path, runs_root
    from interp_tui_engine.trust import set_allowed

    from . import progress_display
    from .batch import finish
    from .reuse import recorded

    set_allowed(trust)
    first = find(run, runs)
    if check and not digests(first):
        raise UserError(f"{first.path.name} has no digests to compare with", "they are recorded when a run is done")
    request = manifest.load(first.manifest_path)
    path = to.expanduser().absolute() if to else new_run_path(runs_root(runs), request.kind, request.name)
    second = supervisor.prepare(request, path)
    if json:
        event("run_folder", path=str(second.path))
    else:
        say(f"run folder {second.path}")
    display = progress_display.choose(second, as_json=json, plain=plain)
    with display:
        status = supervisor.supervise(second, progress_display.careful(display))
    if status.state == "done" and (difference := other_gpu(recorded(first), recorded(second))):
        say(difference)
    if not check or status.state != "done":
        return finish(second, status, as_json=json)
    return report(digests(first), digests(second), second, as_json=json)


def other_gpu(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """That two runs' [provenance] names other GPU models, on which the last bits of numbers depend; empty where they are the same."""
    models = [str(made.get("gpu") or ("a CPU" if made.get("device") else "")) for made in (first, second)]
    if not all(models) or models[0] == models[1]:
        return ""
    return f"the first run was made on {models[0]}, the replay on {models[1]}: their numbers agree to rounding, not bit for bit"


def digests(folder: RunFolder) -> dict[str, str]:
    """The sha256 of each array, as recorded in the run's manifest; empty for a run that is not done."""
    from ..runs import session

    result = session.tables(folder).get("result")
    recorded = result.get("sha256") if isinstance(result, Mapping) else None
    return {name: str(digest) for name, digest in session.flat(recorded).items()} if isinstance(recorded, Mapping) else {}


ONLY_NOW = "only in the replay"
"""An array that runs did not keep when the first was made: nothing to compare, and nothing that differs."""


def report(first: Mapping[str, str], second: Mapping[str, str], folder: RunFolder, *, as_json: bool) -> int:
    """Print each array's name with 'equal' or how it differs. Returns the exit code."""
    verdicts = {name: _verdict(first.get(name), second.get(name)) for name in sorted({*first, *second})}
    equal = all(verdict in ("equal", ONLY_NOW) for verdict in verdicts.values())
    if as_json:
        event("replay_check", equal=equal, arrays=verdicts, path=str(folder.path))
        return 0 if equal else 1
    for line in columns(verdicts.items()):
        out(line)
    out(
        f"all {'arrays of the first run ' if ONLY_NOW in verdicts.values() else 'arrays '}are equal, bit for bit"
        if equal
        else f"{sum(v not in ('equal', ONLY_NOW) for v in verdicts.values())} of {len(verdicts)} arrays differ"
    )
    if not equal:
        say("interp-tui compare shows whether versions or devices differ too")
    out_path(folder.path)
    return 0 if equal else 1


def _verdict(first: str | None, second: str | None) -> str:
    if first is None or second is None:
        return ONLY_NOW if first is None else "missing in the replay"
    return "equal" if first == second else "differs"
