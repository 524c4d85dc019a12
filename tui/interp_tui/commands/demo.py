"""`demo`: from a criterion to the feature that causes it, on the embedded model: what the program is for, in a minute and a half."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import JsonOption, PlainOption, RunsOption

PACKAGED = Path(__file__).resolve().parent.parent / "demo.toml"
IN_TREE = Path(__file__).resolve().parents[3] / "examples" / "manifests" / "criterion.toml"


def demo(
    to: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder to make.")] = None,
    runs: RunsOption = None,
    reuse: Annotated[bool, typer.Option("--reuse", help="Take over what an earlier demo has computed.")] = False,
    plain: PlainOption = False,
    json: JsonOption = False,
) -> int:
    """Train a dictionary on the embedded model, find the feature for "a capital comes next", and show that it causes it."""
    from . import batch
    from .output import say

    if not json:
        say("on builtin:tiny, layer 2: a dictionary, a ranking, interventions with controls, and a match with a second dictionary")
    return batch.run(manifest_path(), batch.Options(out=to, runs=runs, as_json=json, plain=plain, reuse=reuse))


def manifest_path() -> Path:
    """The demo's manifest: the example itself, which an installed package carries beside its code."""
    return PACKAGED if PACKAGED.is_file() else IN_TREE
