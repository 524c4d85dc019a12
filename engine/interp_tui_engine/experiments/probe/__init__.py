"""Probes over layers and sites: where can a label be read off the activations, and is it the model's doing or the probe's?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.probe import LIVE, ProbeHeadline, ProbeResult
from ...runtime import cost, inputs
from ...runtime.context import Context
from .. import _pairs
from .params import Params, _wrong_with, read_rows

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


def check(manifest: Manifest) -> list[Problem]:
    """Texts missing or given twice; sites that are none."""
    params: Params = manifest.params
    problems = _pairs.check_sites(manifest, "sites", tuple(name for name in _pairs.PATCHABLE if name != "attn_pattern"))
    if bool(params.examples) == bool(params.file):
        problems.append(Problem("params.examples", "give examples, or a file of them" + (", not both" if params.file else "")))
    if len(set(params.positions)) < len(params.positions):
        problems.append(Problem("params.positions", "names a position twice", value=params.positions))
    for index, row in enumerate(params.examples):
        if (said := _wrong_with(row)) is not None:
            problems.append(Problem(f"params.examples.{index}", said, value=row))
    if problems:
        return problems
    key = "params.file" if params.file else "params.examples"
    rows, problems = inputs.read(key, params.file, read_rows) if params.file else (params.examples, [])
    return problems or ([] if rows is None else _label_problems(key, rows, params.folds))


def _label_problems(key: str, rows: Sequence[Mapping[str, Any]], folds: int) -> list[Problem]:
    """One label only, or fewer rows of the rarest, or fewer groups, than folds."""
    counts = Counter(str(row["label"]) for row in rows)
    if len(counts) < 2:
        return [Problem(key, f"holds {len(rows)} rows of one label, {next(iter(counts))!r:.40}: there is nothing to tell apart")]
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < folds:
        hint = f"set folds = {least}, or give more" if least > 1 else "give two of each at least"
        return [Problem(key, f"holds {least} row{'s' * (least > 1)} with label {label!r:.40}, fewer than folds = {folds}; {hint}")]
    groups = {str(row["group"]) for row in rows if row.get("group") is not None}
    if groups and all(row.get("group") is not None for row in rows) and len(groups) < folds:
        return [Problem(key, f"names {len(groups)} group{'s' * (len(groups) > 1)}, fewer than folds = {folds}; groups are never split")]
    return []


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of every text, and the fits."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    texts = len(manifest.params.examples) or 200
    fits = manifest.params.folds * (manifest.params.repeats + manifest.params.controls + 1 + manifest.params.permutations)
    return Estimate(
        cost.seconds(2 * size.parameters * texts * 16) + 4 + 0.05 * fits, cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes
    )


def run(context: Context) -> Generator[Event, None, Result]:
    """Read activations once, then probe place by place; what is probed is not probed again after a kill."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="probe",
    title="Probe",
    question="At which layer can a label be read off the activations?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=ProbeResult,
    headline=ProbeHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
