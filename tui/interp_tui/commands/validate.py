"""`validate` and `schema`: what is wrong with a manifest, and what may stand in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .output import error, out, out_json, out_text
from .shared import JsonOption, SetOption, kind_names


def validate(
    manifests: Annotated[list[Path], typer.Argument(metavar="M.toml…", help="Manifests, or run folders.")],
    set_: SetOption = None,
    json: JsonOption = False,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print it with every default, and where each value came from.")] = False,
) -> int:
    """Check manifests and report every problem at once."""
    from interp_tui_engine import manifest
    from interp_tui_engine.errors import ManifestError, UserError

    worst = 0
    for path in manifests:
        try:
            request = manifest.load(path, set_ or ())
        except UserError as found:
            worst = 2
            problems = found.problems if isinstance(found, ManifestError) else []
            what = str(found).splitlines()[0] if problems else found.what
            error(what, found.hint if not problems else "", exit_code=2, as_json=json, problems=problems)
            continue
        if json:
            tables = {"resolved": request.to_dict()} if resolved else {}
            out_json({"source": str(path), "ok": True, "sha256": request.digest(), **tables}, indent=None)
        elif resolved:
            from .value_origins import marked

            out_text(marked(request.to_toml(), path.expanduser(), set_ or ()))
        else:
            out(f"ok  {path}  {request.kind} {request.name}  sha256 {request.digest()}")
    return worst


SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def schema(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", autocompletion=kind_names)] = None,
    result: Annotated[bool, typer.Option("--result", help="The kind's result.json instead.")] = False,
    headline: Annotated[bool, typer.Option("--headline", help="Its headline in status.json and listings instead.")] = False,
    live: Annotated[bool, typer.Option("--live", help="The values of its live events instead, by series.")] = False,
    json_output: Annotated[
        str | None, typer.Option("--json-output", metavar="COMMAND", help="What a command writes with --json; of --batch: batch.")
    ] = None,
) -> int:
    """Print the JSON Schema of a manifest, of what a run of KIND writes, or of a command's --json."""
    if json_output is not None:
        return _schema_of_command(json_output, alone=not (kind or result or headline or live))
    from interp_tui_engine import catalog, manifest

    from .new import known_kind

    if result or headline or live:
        return _schema_of_outputs(kind, result=result, headline=headline, live=live)
    kinds = [known_kind(kind)] if kind else catalog.kinds()
    if len(kinds) == 1:
        out_json(manifest.request_model(kinds[0]).model_json_schema() | {"$schema": SCHEMA})
        return 0
    from functools import reduce
    from operator import or_

    from pydantic import Field, TypeAdapter

    union: Any = reduce(or_, [manifest.request_model(each) for each in kinds])
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[union, Field(discriminator="kind")])
    out_json(adapter.json_schema() | {"$schema": SCHEMA})
    return 0


def _schema_of_command(command: str, *, alone: bool) -> int:
    """The schema of what a command writes with --json. Raises UserError for one that writes none."""
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.validation_errors import nearest

    from .json_outputs import OUTPUTS, adapter

    name = command.removeprefix("--")
    if not alone:
        raise UserError("schema: --json-output is of a command, not of a KIND", f"interp-tui schema --json-output {name}")
    if name not in OUTPUTS:
        guess = nearest(name, list(OUTPUTS))
        raise UserError(f"{command} writes no JSON; one of {', '.join(OUTPUTS)}", f"Did you mean {guess!r}?" if guess else "")
    out_json(adapter(name).json_schema() | {"$schema": SCHEMA})
    return 0


def _schema_of_outputs(name: str | None, *, result: bool, headline: bool, live: bool) -> int:
    """The schema of what runs of a kind write. Raises UserError where several are asked for at once, or none is stated."""
    from interp_tui_engine import payload
    from interp_tui_engine.errors import UserError

    from .new import known_kind

    if name is None or result + headline + live != 1:
        raise UserError("schema: --result, --headline and --live are each of one KIND, and one at a time", "interp-tui schema llc --result")
    kind = known_kind(name)
    if live:
        out_json({series: payload.json_schema(cls) for series, cls in kind.live.items()})
        return 0
    cls = kind.result if result else kind.headline
    if cls is None:
        raise UserError(f"schema: kind {name} states no type of that", "its result.json and events are as its module documents them")
    out_json(payload.json_schema(cls))
    return 0
