"""Which features of a model go with a criterion, and which of them cause it: a ranking on held-out evidence."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.inspect import LIVE, InspectHeadline, InspectResult
from ...runtime import cost, inputs
from ...runtime.context import Context
from .. import _features
from .._features.evidence_files import file_of
from .params import Params

EXAMPLE: dict[str, Any] = {
    "name": "planted",
    "params": {"criterion": "the text is about the planted topic", "backend": "toy"},
}
_READ_BY: dict[str, tuple[str, ...]] = {
    "records": ("records",),
    "features": ("features",),
    "sae": ("prompts", "sae"),
    "directions": ("prompts", "layers"),
    "neuronpedia": ("neuronpedia",),
    "saelens": ("repo", "latents"),
    "scope": ("repo", "sae_path", "latents"),
    "goodfire": ("model",),
    "toy": (),
}
"""The parameters that each backend cannot do without."""
_MAY = {("directions", "directions"), ("saelens", "sae_path")}
"""Those that it can."""
BYTES_A_SECOND = 40e6
"""Rate at which record files are read and ranked, on one core."""


def check(manifest: Manifest) -> list[Problem]:
    """A backend without its files, files of another backend, and rules that are none."""
    from ...errors import UserError
    from ...features.criteria import rule

    params: Params = manifest.params
    problems = []
    for name in _READ_BY[params.backend]:
        if not getattr(params, name) and not (name == "layers" and params.directions):  # a contrast run's directions name theirs
            problems.append(Problem(f"params.{name}", f"is missing; backend {params.backend!r} reads it (backend 'toy' needs none)"))
    for name in sorted({name for names in _READ_BY.values() for name in names} | {"directions", "layers"}):
        allowed = name in _READ_BY[params.backend] or name == "model" or (params.backend, name) in _MAY
        if getattr(params, name) and not allowed:
            problems.append(Problem(f"params.{name}", f"is given, but backend is {params.backend!r}", suggestion=None))
    if params.backend in ("sae", "directions"):
        if manifest.model is None:
            problems.append(Problem("model", f"is missing; backend {params.backend!r} runs it on the prompts"))
        if params.rule is not None or params.judge is not None:
            name = "rule" if params.rule is not None else "judge"
            problems.append(Problem(f"params.{name}", "is given, but the prompts have scores of their own", value=getattr(params, name)))
    if params.judge is not None and params.rule is not None:
        problems.append(Problem("params.judge", "is given beside rule; give one or the other", value=params.judge))
    if params.judge is not None and not params.judge_model:
        problems.append(Problem("params.judge_model", "is missing; the judge needs the name of its model"))
    if params.labeller is not None and not params.labeller_model:
        problems.append(Problem("params.labeller_model", "is missing; the labeller needs the name of its model"))
    for key, text in [("rule", params.rule), *((f"other_criteria.{name}", text) for name, text in params.other_criteria.items())]:
        if text is None:
            continue
        try:
            rule(text)
        except UserError as error:
            problems.append(Problem(f"params.{key}", str(error).replace("\n  ", "; "), value=text))
    return problems or _wrong_files(params)


def _wrong_files(params: Params) -> list[Problem]:
    """Files that are not what they are given as."""
    from ...features import evidence, interventions

    scored = params.rule is None and params.judge is None
    problems = _features.check_files(params)
    for index, given in enumerate(params.records):
        problems += _features.check_records(f"params.records.{index}", given, scored=scored, model=params.model)
    if params.features is not None:
        problems += inputs.read("params.features", params.features, _reader_of("features", evidence.read), params.model)[1]
    if params.interventions is not None:
        problems += inputs.read("params.interventions", params.interventions, _reader_of("interventions", interventions.read))[1]
    return problems


@cache
def _reader_of(what: str, reader: Callable[..., Any]) -> Callable[..., None]:
    """Reads what a run folder holds of that name."""

    def read(path: Path, *more: Any) -> None:
        reader(file_of(str(path), what), *more)

    return read


def estimate(manifest: Manifest) -> Estimate:
    """From the sizes of the files."""
    size = 0
    for given in manifest.params.records:
        path = file_of(given, "records") if Path(given).exists() else Path(given)
        size += path.stat().st_size * (8 if path.suffix == ".gz" else 1) if path.is_file() else 0
    return Estimate(cost.START_WITHOUT_TORCH + size / BYTES_A_SECOND, 150 << 20, max(64 << 10, size // 50))


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, rank, write cards. Begun anew after a kill: nothing in it takes long, and the same files give the same numbers."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="inspect",
    title="Inspect features",
    question="Which features go with this criterion, and which cause it?",
    group="Features",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=InspectResult,
    headline=InspectHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
