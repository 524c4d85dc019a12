"""Probes over layers and sites: where can a label be read off the activations, and is it the model's doing or the probe's?"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem, UserError
from ..events import Event
from ..manifest import Manifest
from ..specs import FILE, Table
from . import _cost, _pairs
from .context import Context

TITLE = "Probe"
QUESTION = "At which layer can a label be read off the activations?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {
        "examples": [
            {"text": f"The capital of {place} is", "label": side}
            for side, places in (
                ("Europe", ("France", "Italy", "Spain", "Greece", "Norway", "Poland")),
                ("elsewhere", ("Japan", "Egypt", "China", "India", "Kenya", "Cuba")),
            )
            for place in places
        ],
        "folds": 3,
    },
}


class Params(Table):
    """Which labelled texts, where to read them, and by what."""

    examples: list[dict[str, Any]] = Field(default_factory=list, description="texts with labels: { text, label, group }")
    file: str | None = Field(None, json_schema_extra=FILE, description="a .jsonl of { text, label, group }, in place of examples")
    sites: list[str] = Field(["resid_post"], min_length=1, description="kinds of site to probe in every layer")
    positions: list[int] = Field([-1], min_length=1, description="the tokens to read, of each text; -1 is its last")
    probe: Literal["logistic", "ridge", "mean_difference", "mlp"] = Field("logistic", description="what reads the label")
    strength: float = Field(1.0, gt=0, description="L2 penalty on standardised activations")
    folds: int = Field(5, ge=2, description="parts of cross-validation; groups are never split")
    resamples: int = Field(500, ge=10, description="bootstrap resamples for the AUROC's interval")


def check(manifest: Manifest) -> list[Problem]:
    """Texts missing or given twice; sites that are none."""
    params: Params = manifest.params
    problems = _pairs.check_sites(manifest, "sites", tuple(name for name in _pairs.PATCHABLE if name != "attn_pattern"))
    if bool(params.examples) == bool(params.file):
        problems.append(Problem("params.examples", "give examples, or a file of them" + (", not both" if params.file else "")))
    if len(set(params.positions)) < len(params.positions):
        problems.append(Problem("params.positions", "names a position twice", value=params.positions))
    for index, row in enumerate(params.examples):
        if (said := _complaint(row)) is not None:
            problems.append(Problem(f"params.examples.{index}", said, value=row))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of every text, and the fits."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    texts = len(manifest.params.examples) or 200
    return Estimate(_cost.seconds(2 * size.parameters * texts * 16) + 4, _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read activations once, then probe place by place; what is probed is not probed again after a kill."""
    from . import _probe_run

    return (yield from _probe_run.run(context))


def _complaint(row: Any) -> str | None:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"]:
        return "has no text; write { text, label }"
    return "has no label; write { text, label }" if row.get("label") is None else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The labelled texts of a file. Raises UserError naming the line that is none."""
    from ..data.prompts import json_lines

    rows = []
    for number, row in json_lines(path, "one { text, label, group } a line"):
        if (said := _complaint(row)) is not None:
            raise UserError(f"{path}, line {number}: {said}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no rows", "give a .jsonl of { text, label, group }")
    return rows
