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
    resolved: Annotated[bool, typer.Option("--resolved", help="Print the manifest with every default filled in.")] = False,
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
            out_text(request.to_toml())
        else:
            out(f"ok  {path}  {request.kind} {request.name}  sha256 {request.digest()}")
    return worst


def schema(kind: Annotated[str | None, typer.Argument(metavar="KIND", autocompletion=kind_names)] = None) -> int:
    """Print the JSON Schema of a manifest."""
    from interp_tui_engine import catalog, manifest

    from .new import known_kind

    found = [known_kind(kind)] if kind else catalog.kinds()
    if len(found) == 1:
        out_json(manifest.request_model(found[0]).model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
        return 0
    from functools import reduce
    from operator import or_

    from pydantic import Field, TypeAdapter

    union: Any = reduce(or_, [manifest.request_model(each) for each in found])
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[union, Field(discriminator="kind")])
    out_json(adapter.json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
    return 0
