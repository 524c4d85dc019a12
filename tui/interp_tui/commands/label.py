"""`label`: tags and a note on a run, and putting it away."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from .output import out
from .shared import RunArgument, RunsOption, find


def label(
    run: RunArgument,
    runs: RunsOption = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Add a tag; may be repeated.")] = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="Take a tag away; may be repeated.")] = None,
    note: Annotated[str | None, typer.Option("--note", help="Write a note in place of the one there is; '' removes it.")] = None,
    archive: Annotated[bool | None, typer.Option("--archive/--unarchive", help="Put the run away, or take it back.")] = None,
) -> int:
    """Keep tags and a note on a run; an archived run is listed only when asked for."""
    from ..runs import labels

    folder = find(run, runs)
    before = labels.read(folder)
    gone = set(labels.typed_tags(" ".join(untag or ())))
    tags = tuple(name for name in dict.fromkeys((*before.tags, *labels.typed_tags(" ".join(tag or ())))) if name not in gone)
    after = replace(before, tags=tags, note=before.note if note is None else note, archived=before.archived if archive is None else archive)
    if after != before:
        labels.write(folder, after)
    shown = labels.read(folder)
    out(" ".join([*(f"#{name}" for name in shown.tags), *(["archived"] if shown.archived else []), *([shown.note] if shown.note else [])]))
    return 0
