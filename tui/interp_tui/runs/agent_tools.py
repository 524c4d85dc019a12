"""What a program that works for the user may ask of the runs: the tools that `interp-tui mcp` offers. Headless.

A tool is a function of plain JSON values to a JSON value, with the JSON Schema of its arguments. Those that only read are always offered;
those that start or stop a run only where the user has said so. Texts of models and data are passed on as data, in bounded length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.eventlog import last_events
from interp_tui_engine.events import to_line
from interp_tui_engine.runfolder import find_run

from . import meaning, session
from .certainty import flat_numbers, worded
from .headlines import answer
from .run_index import RunIndex

Arguments = Mapping[str, Any]
RUN = {"type": "string", "description": "a run's folder name, or an unambiguous part of it"}
MOST_RUNS, MOST_NUMBERS, MOST_EVENTS, MOST_ITEMS = 200, 300, 200, 500


@dataclass(frozen=True)
class Tool:
    """`writes`: it starts or stops something."""

    name: str
    description: str
    properties: Mapping[str, Any]
    call: Callable[[Path, Arguments], Any]
    required: Sequence[str] = ()
    writes: bool = False

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        return {"type": "object", "properties": dict(self.properties), "required": list(self.required), "additionalProperties": False}


def list_runs(root: Path, given: Arguments) -> Any:
    """Newest first."""
    matching = []
    for run in RunIndex(root).refresh():
        status = run.status
        if given.get("kind") not in (None, status.kind) or given.get("state") not in (None, status.state):
            continue
        if given.get("tag") is not None and given["tag"] not in run.labels.tags:
            continue
        outcome = answer(status.kind, status.headline)
        about = {"run": run.key, "kind": status.kind, "name": status.name, "state": status.state, "model": status.model, "answer": outcome}
        matching.append(about | ({"tags": list(run.labels.tags)} if run.labels.tags else {}))
        if len(matching) >= min(int(given.get("limit", 50)), MOST_RUNS):
            break
    return {"runs": matching}


def show_run(root: Path, given: Arguments) -> Any:
    """A run's state, answer, numbers and manifest. Raises UserError for a run that there is not."""
    folder = find_run(root, given["run"])
    run = session.read_run(folder)
    result = folder.result() or {}
    numbers = {key: value for key, value in flat_numbers(result).items() if not isinstance(value, (list, dict))}
    sure = {key: text for key, text in worded(result).items()}
    return {
        "run": run.key,
        "path": str(folder.path),
        "answer": answer(run.status.kind, run.status.headline),
        "status": run.status.to_json(),
        "numbers": dict(list(numbers.items())[:MOST_NUMBERS]),
        "with_uncertainty": dict(list(sure.items())[:MOST_NUMBERS]),
        "manifest": session.request_tables(folder),
    }


def result(root: Path, given: Arguments) -> Any:
    """The value at a dotted key; of a long list its beginning, and how long it is."""
    folder = find_run(root, given["run"])
    value: Any = folder.result()
    if value is None:
        raise UserError(f"{folder.path.name} has no result", "only runs that are done have one")
    for part in str(given.get("key") or "").split("."):
        if not part:
            continue
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            names = (
                ", ".join(list(value)[:40]) if isinstance(value, dict) else f"{len(value)} items" if isinstance(value, list) else "a value"
            )
            raise UserError(f"there is no {part!r} here", f"there is: {names}") from None
    if isinstance(value, list) and len(value) > MOST_ITEMS:
        return {"value": value[:MOST_ITEMS], "length": len(value)}
    return {"value": value}


def follow(root: Path, given: Arguments) -> Any:
    """The last events of a run, as they stand in its log."""
    import json

    folder = find_run(root, given["run"])
    count = max(1, min(int(given.get("last", 20)), MOST_EVENTS))
    events = [json.loads(to_line(event)) for event in last_events(folder.events_path)[-count:]]
    return {"state": folder.status().state, "events": events}


def compare(root: Path, given: Arguments) -> Any:
    """Where the headlines of two runs differ, how surely, and what both share. Raises UserError for a run that there is not."""
    left, right = (meaning.side(find_run(root, given[name])) for name in ("first", "second"))
    sides = [{"run": side.folder.path.name, "answer": meaning.headline(side, ascii=False)} for side in (left, right)]
    differences = [asdict(difference) for difference in meaning.differences(left, right)]
    return {
        "runs": sides,
        "differences": differences,
        "warnings": meaning.warnings([left, right]),
        "in_common": meaning.shared([left, right]),
    }


def kinds(root: Path, given: Arguments) -> Any:
    """Every kind of run with the question that it answers."""
    from interp_tui_engine import catalog

    return {"kinds": [{"kind": kind.name, "question": kind.question, "group": kind.group} for kind in catalog.kinds()]}


def schema(root: Path, given: Arguments) -> Any:
    """JSON Schema of a kind's manifest. Raises UserError for a kind that there is not."""
    from interp_tui_engine import catalog, manifest

    if given["kind"] not in catalog.kind_names():
        raise UserError(f"there is no kind {given['kind']!r}", f"kinds: {', '.join(catalog.kind_names())}")
    return manifest.request_model(catalog.get(given["kind"])).model_json_schema()


def validate(root: Path, given: Arguments) -> Any:
    """Every problem at once; else the manifest with its defaults, and what it would cost."""
    from interp_tui_engine import expected_time, manifest
    from interp_tui_engine.supervision import sweep_supervisor

    try:
        request = manifest.parse(given["manifest"], base=Path.cwd())
    except ManifestError as error:
        return {"valid": False, "problems": [{"path": p.path, "message": p.message, "line": p.line} for p in error.problems]}
    cost = expected_time.expected(request, root, sweep_supervisor.estimate)
    return {"valid": True, "resolved": request.to_dict(), "cost": asdict(cost)}


def start(root: Path, given: Arguments) -> Any:
    """Start what the manifest asks for, in the background. Raises ManifestError for one that is not valid."""
    from interp_tui_engine import manifest

    folder = session.start(manifest.parse(given["manifest"], base=Path.cwd()), root)
    return {"run": folder.path.name, "path": str(folder.path)}


def stop(root: Path, given: Arguments) -> Any:
    """Ask a run to stop. Raises UserError for a run that there is not."""
    folder = find_run(root, given["run"])
    session.send(folder, "stop")
    return {"run": folder.path.name, "stops": "at its next step, with a checkpoint"}


TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 1}
MANIFEST = {"type": "string", "description": "the text of a manifest (TOML)"}
TOOLS = (
    Tool("list_runs", "The runs there are, newest first, each with its answer in words.",
         {"kind": TEXT, "state": TEXT, "tag": TEXT, "limit": COUNT}, list_runs),
    Tool("show_run", "One run: its state, its answer, its numbers with their uncertainty, its manifest.", {"run": RUN}, show_run, ("run",)),
    Tool("result", "A part of a run's result.json by its dotted key; all of it without one.",
         {"run": RUN, "key": TEXT}, result, ("run",)),
    Tool("follow", "The state of a run and its last events.", {"run": RUN, "last": COUNT}, follow, ("run",)),
    Tool("compare", "Two runs: their answers, the differences in standard errors, and what keeps them from being compared.",
         {"first": RUN, "second": RUN}, compare, ("first", "second")),
    Tool("kinds", "The kinds of run there are, and the question that each answers.", {}, kinds),
    Tool("schema", "The JSON Schema of a kind's manifest.", {"kind": TEXT}, schema, ("kind",)),
    Tool("validate", "Check a manifest: every problem, or what it would cost. Starts nothing.",
         {"manifest": MANIFEST}, validate, ("manifest",)),
    Tool("start", "Start a run of a manifest, detached.", {"manifest": MANIFEST}, start, ("manifest",), writes=True),
    Tool("stop", "Stop a run at its next step, with a checkpoint.", {"run": RUN}, stop, ("run",), writes=True),
)  # fmt: skip
