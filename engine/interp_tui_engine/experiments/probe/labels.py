"""The labels of texts as numbers, which texts belong together, and whether they are enough to probe. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from ...probes.classifiers import Labels
from ...probes.recurrence import recurrence

FEWEST = 5
"""Groups of each class, at least: of four, two sides of a fold have two each, and any direction tells them apart now and then."""


class LabelledRows(NamedTuple):
    """Labels as places in `classes`, what has to stay on one side of a fold, and what was found out about it, in words."""

    classes: list[str]
    y: Labels
    groups: Labels
    notes: list[str]


def labelled(rows: Sequence[Mapping[str, Any]]) -> LabelledRows:
    """The labels of rows of { text, label, group }."""
    classes = sorted({str(row["label"]) for row in rows})
    number = {name: place for place, name in enumerate(classes)}
    y = np.array([number[str(row["label"])] for row in rows], np.int64)
    names: dict[str, int] = {}
    given = np.array([names.setdefault(str(row.get("group", f"row {i}")), len(names)) for i, row in enumerate(rows)], np.int64)
    grouping = recurrence([str(row["text"]) for row in rows], y, given if any("group" in row for row in rows) else None)
    return LabelledRows(classes, y, grouping.groups, grouping.notes)


def check_enough(rows: LabelledRows, folds: int) -> None:
    """Raise UserError for one class only, or so few independent rows of one that nothing held out can tell anything."""
    if len(rows.classes) < 2:
        raise UserError(
            f"all {len(rows.y)} labels are {rows.classes[0]!r:.40}: there is nothing to tell apart",
            "give rows of two classes",
        )
    counts = [len(np.unique(rows.groups[rows.y == label])) for label in range(len(rows.classes))]
    rarest = int(np.argmin(counts))
    groups = len(np.unique(rows.groups))
    kind = "rows" if groups == len(rows.y) else "groups of rows"
    note = f" ({rows.notes[0]})" if rows.notes and kind != "rows" else ""
    if counts[rarest] < FEWEST:
        what = f"{counts[rarest]} {kind} of class {rows.classes[rarest]!r:.40}{note}: fewer than {FEWEST} tell nothing"
        raise UserError(what, f"give more {kind}")
    if groups < folds or min(np.bincount(rows.y)) < folds:
        least = min(groups, int(min(np.bincount(rows.y))))
        raise UserError(f"{least} {kind}{note}, fewer than folds = {folds}", f"use folds = {least}, or give more {kind}")
