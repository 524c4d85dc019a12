"""Probes over layers and sites: where can a label be read off the activations, and is it the model's doing or the probe's?"""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem, UserError
from ...events import Event
from ...manifest import Manifest
from ...results.probe import LIVE, ProbeHeadline, ProbeResult
from ...runtime import cost, inputs
from ...runtime.context import Context
from .. import _pairs
from .labels import check_enough, labelled
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


ROW_BYTES = 80
"""Of a labelled text in a file, for an estimate."""
CHECKED = 2000
"""Most rows whose labels and groups are looked at before the run."""


def check(manifest: Manifest) -> list[Problem]:
    """Texts missing or given twice; sites that are none."""
    params: Params = manifest.params
    problems = _pairs.check_sites(manifest, "sites", tuple(name for name in _pairs.PATCHABLE if name != "attn_pattern"))
    if bool(params.examples) == bool(params.file):
        problems.append(Problem("params.examples", "give examples, or a file of them" + (", not both" if params.file else "")))
    if len(set(params.positions)) < len(params.positions):
        problems.append(Problem("params.positions", "names a position twice", value=params.positions))
    for index, row in enumerate(params.examples):
        if (problem := _wrong_with(row)) is not None:
            problems.append(Problem(f"params.examples.{index}", problem, value=row))
    if problems:
        return problems
    key = "params.file" if params.file else "params.examples"
    rows, problems = inputs.read(key, params.file, read_rows) if params.file else (params.examples, [])
    if problems or rows is None or len(rows) > CHECKED:
        return problems
    error = _too_few(json.dumps(rows, default=str), params.folds)
    return [] if error is None else [inputs.problem(key, error, None)]


@lru_cache(maxsize=4)
def _too_few(rows: str, folds: int) -> UserError | None:
    """What is wrong with rows, as JSON; kept, for a form that is checked at every key."""
    try:
        check_enough(labelled(json.loads(rows)), folds)
    except UserError as error:
        return error
    return None


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of every text, and the fits."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    path = Path(manifest.params.file or "")
    texts = len(manifest.params.examples) or (path.stat().st_size // ROW_BYTES + 1 if path.is_file() else 200)
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
    splittable=True,
)
