"""Causal tracing: patch each activation of a corrupt run with the clean run's, and see where that brings the answer back."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem
from ...events import Event
from ...manifest import Manifest
from ...results.causal_trace import LIVE, CausalTraceHeadline, CausalTraceResult
from ...runtime import cost
from ...runtime.context import Context
from .. import _pairs
from .params import TRACED, Params

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {**_pairs.FACTS, "sites": ["resid_post", "attn_out", "mlp_out"], "heads": True},
}
GUESSED_POSITIONS = 6
"""Positions after the first changed one, for an estimate made before anything is tokenised."""


def check(manifest: Manifest) -> list[Problem]:
    """Prompts, sites and noise that do not go together."""
    params: Params = manifest.params
    noise = params.corruption == "noise"
    problems = _pairs.check_pairs(manifest, need_corrupt=not noise)
    problems += _pairs.check_sites(manifest, "sites", TRACED) + _pairs.check_sites(manifest, "freeze", ("attn_out", "mlp_out"))
    if noise and not params.subject and not params.pairs:
        problems.append(Problem("params.subject", "is missing; corruption = 'noise' falls on the subject's tokens"))
    if noise and params.subject and params.clean and params.subject not in params.clean:
        message = f"{params.subject!r} does not stand in clean = {params.clean!r}"
        problems.append(Problem("params.subject", message, value=params.subject))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """Half the layers for each patched run, two runs to branch off, for each pair."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    params: Params = manifest.params
    layers = max(4, round((size.parameters / 5e5) ** 0.6))
    cells = layers * GUESSED_POSITIONS * (len(params.sites) + (8 if params.heads else 0))
    pairs, _ = _pairs.pairs_given(params)
    flops = pairs * size.parameters * GUESSED_POSITIONS * (cells + 6)
    notes = (*size.notes, f"for {pairs:,} {'pair' if pairs == 1 else 'pairs'} of short prompts")
    return Estimate(cost.seconds(flops), cost.BASE_BYTES + 6 * size.parameters, 1 << 20, notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Trace pair by pair, chunk by chunk; a chunk that is done is not done again after a kill."""
    from . import compute

    return (yield from compute.run(context))


KIND = Kind(
    name="causal_trace",
    title="Causal trace",
    question="Where does a fact live, and when does it move on?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=CausalTraceResult,
    headline=CausalTraceHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
