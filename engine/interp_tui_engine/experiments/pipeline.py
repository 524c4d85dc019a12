"""Kinds run as steps of one run: records, a dictionary, a ranking, interventions, a match, each cached and resumable.

Its steps are child runs, started by its supervisor (`pipelining`), which never starts a worker for the pipeline itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from pydantic import Field

from .. import catalog, pipeline
from ..catalog import Estimate, Kind, Result
from ..errors import ManifestError, Problem, RunFailed
from ..events import Event
from ..manifest import Manifest, resolve
from ..results.pipeline import LIVE, PipelineHeadline, PipelineResult
from ..runtime.context import Context
from ..specs import FILE, Table

EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"criterion": "the next token is a capital city", "prompts": "builtin:capital"},
    "step": [
        {"id": "records", "kind": "records", "params": {"features": "hidden", "layers": [2]}},
        {"id": "screen", "kind": "inspect", "params": {"records": ["${records}"]}},
        {"id": "interventions", "kind": "interventions", "params": {"report": "${screen}", "top": 3}},
        {"id": "inspect", "kind": "inspect", "params": {"records": ["${records}"], "interventions": "${interventions}"}},
    ],
}


class Params(Table):
    """What the steps share, and how many run at a time."""

    criterion: str = Field("", description="the criterion of every step that needs one and names none")
    prompts: str = Field(
        "",
        json_schema_extra=FILE,
        description="the prompts of every step that needs some and names none: a .jsonl, or builtin:capital and the like",
    )
    side_by_side: int = Field(1, ge=1, le=16, description="steps at a time, where they do not wait for each other")


def check(manifest: Manifest) -> list[Problem]:
    """Steps are checked as the manifests they are, when the pipeline's is resolved."""
    return []


def estimate(manifest: Manifest) -> Estimate:
    """The sum of the steps that can be estimated before the others have run."""
    estimates = [_estimate(manifest, step) for step in manifest.step]
    seconds = [estimate.seconds for estimate in estimates if estimate.seconds is not None]
    memory = [estimate.memory_bytes for estimate in estimates if estimate.memory_bytes is not None]
    disk = [estimate.disk_bytes for estimate in estimates if estimate.disk_bytes is not None]
    unknown = [step.id for step, estimate in zip(manifest.step, estimates, strict=True) if estimate.seconds is None]
    notes = (f"{len(estimates)} steps",) + ((f"not known before they run: {', '.join(unknown)}",) if unknown else ())
    at_once = sorted(memory, reverse=True)[: manifest.params.side_by_side]
    return Estimate(sum(seconds) if seconds else None, sum(at_once) if memory else None, sum(disk) if disk else None, notes)


def _estimate(manifest: Manifest, step: pipeline.StepSpec) -> Estimate:
    try:
        return catalog.get(step.kind).estimate(resolve(pipeline.tables_of(manifest.to_dict(), step)))
    except ManifestError:
        return Estimate(None, None, None)


def run(context: Context) -> Generator[Event, None, Result]:
    """Never called by a supervisor. Raises RunFailed."""
    yield from _nothing()
    raise RunFailed("a pipeline has no worker: its supervisor runs its steps", "interp-tui --batch runs it")


def _nothing() -> Iterator[Event]:
    return iter(())


KIND = Kind(
    name="pipeline",
    title="Run a pipeline",
    question="What do several kinds find together, each step on what the ones before it made?",
    group="Tools",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=PipelineResult,
    headline=PipelineHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
