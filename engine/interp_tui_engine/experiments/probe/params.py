"""What probe may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...errors import UserError
from ...specs import FILE, Table


class Params(Table):
    """Which labelled texts, where to read them, and by what."""

    examples: list[dict[str, Any]] = Field(default_factory=list, description="texts with labels: { text, label, group }")
    file: str | None = Field(None, json_schema_extra=FILE, description="a .jsonl of { text, label, group }, in place of examples")
    sites: list[str] = Field(["resid_post"], min_length=1, description="kinds of site to probe in every layer")
    positions: list[int] = Field([-1], min_length=1, description="the tokens to read, of each text; -1 is its last")
    probe: Literal["logistic", "ridge", "mean_difference", "mlp"] = Field("logistic", description="what reads the label")
    strength: float = Field(1.0, gt=0, description="L2 penalty on standardised activations")
    folds: int = Field(5, ge=2, description="parts of cross-validation; groups are never split")
    repeats: int = Field(3, ge=1, description="divisions into folds that are averaged over")
    controls: int = Field(3, ge=1, description="draws of the control task: random labels of subjects that recur, else of rows")
    permutations: int = Field(20, ge=0, le=10_000, description="permuted labels that are fitted and scored anew, for p; 0: none")
    resamples: int = Field(500, ge=10, description="bootstrap resamples by which the interval learns how alike rows of a group are")


def _wrong_with(row: Any) -> str | None:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"]:
        return "has no text; write { text, label }"
    return "has no label; write { text, label }" if row.get("label") is None else None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The labelled texts of a file. Raises UserError naming the line that is none."""
    from ...data.prompts import json_lines

    rows = []
    for number, row in json_lines(path, "one { text, label, group } a line"):
        if (wrong := _wrong_with(row)) is not None:
            raise UserError(f"{path}, line {number}: {wrong}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no rows", "give a .jsonl of { text, label, group }")
    return rows
