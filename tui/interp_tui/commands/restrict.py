"""`restrict`: which parameters a weight restriction selects, as a tree with counts."""

from __future__ import annotations

import json as json_text
import subprocess
import sys
from typing import Annotated, Any

import typer

from .output import out, out_json, warn
from .shared import JsonOption, PlainOption

ANSWER_SECONDS = 600
"""A model on disk answers in seconds; one of many gigabytes in a .gguf file must be read first."""


def restrict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="builtin:tiny, a folder, a .gguf file, or a Hugging Face id.")],
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN…", help="l0, 'l0 attn', 'l0 mlp', l0h1, 'l0h1 own', l0g0, embed, unembed, a parameter; several: their union."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", metavar="REV", help="A checkpoint or git revision of the model.")] = None,
    json: JsonOption = False,
    plain: PlainOption = False,
) -> int:
    """Show which parameters a weight restriction selects."""
    answer = ask(model, revision, patterns or ["full"])
    counts = {name: (int(selected), int(total)) for name, (selected, total) in answer["parameters"].items()}
    if json:
        out_json(answer)
        return 0
    for note in answer["notes"]:
        warn(note)
    if plain:
        for name, (selected, total) in counts.items():
            out(f"{name}  {selected} of {total}")
        out(f"{answer['selected']} of {answer['total']}")
        return 0
    from interp_tui_engine.restriction_tree import write_tree

    write_tree(counts, answer["total"], sys.stdout)
    for remark in answer["remarks"]:
        out(remark)
    return 0


def ask(model: str, revision: str | None, patterns: list[str]) -> dict[str, Any]:
    """What the patterns select of a model: {selected, total, parameters: {name: [selected, total]}, notes, remarks}.

    Asked of a process of its own, because this one imports no torch. Raises UserError for what that process cannot use.
    """
    from interp_tui_engine.errors import RunFailed, UserError

    command = [sys.executable, "-P", "-m", "interp_tui_engine.models.restrictions", model, revision or "", *patterns]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{model} was not read within {ANSWER_SECONDS} s") from None
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode not in (0, 2) or not last:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RunFailed(f"{model} could not be looked at", why[0])
    answer: dict[str, Any] = json_text.loads(last[0])
    if "error" in answer:
        raise UserError(answer["error"], answer["hint"])
    return answer
