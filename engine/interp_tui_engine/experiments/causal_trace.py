"""Causal tracing: patch each activation of a corrupt run with the clean run's, and see where that brings the answer back."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem
from ..events import Event
from ..manifest import Manifest
from . import _cost, _pairs
from .context import Context

TITLE = "Causal trace"
QUESTION = "Where does a fact live, and when does it move on?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {**_pairs.FACTS, "sites": ["resid_post", "attn_out", "mlp_out"], "heads": True},
}
TRACED = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "q", "k", "v", "z")
GUESSED_POSITIONS = 6
"""Positions after the first changed one, for an estimate made before anything is tokenised."""


class Params(_pairs.PairParams):
    """Which prompts, which activations, and what is put in whose place."""

    sites: list[str] = Field(["resid_post", "attn_out", "mlp_out"], min_length=1, description=f"kinds of site: {', '.join(TRACED)}")
    heads: bool = Field(True, description="trace each attention head (site z) too")
    corruption: Literal["interchange", "noise"] = Field("interchange", description="a second prompt, or Gaussian noise on the subject")
    subject: str | None = Field(None, description="for noise: the words of the clean prompt whose embeddings it falls on")
    noise_scale: float = Field(3.0, gt=0, description="standard deviation of the noise, in standard deviations of the embedding")
    noise_samples: int = Field(10, ge=1, description="noisy runs to average over")
    window: int = Field(1, ge=1, description="layers patched together, centred on the one named")
    freeze: list[str] = Field(default_factory=list, description="sites held at the corrupt run in later layers: attn_out, mlp_out")
    rows: int = Field(256, ge=1, description="patched runs that travel in one batch; results do not depend on it beyond rounding")
    resamples: int = Field(1000, ge=10, description="bootstrap resamples of the pairs for the interval")


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
    """Half the layers for each patched run, two runs to branch off; the number of pairs is not known before the file is read."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    params: Params = manifest.params
    layers = max(4, round((size.parameters / 5e5) ** 0.6))
    cells = layers * GUESSED_POSITIONS * (len(params.sites) + (8 if params.heads else 0))
    flops = size.parameters * GUESSED_POSITIONS * (cells + 6)
    notes = (*size.notes, "for one pair of short prompts")
    return Estimate(_cost.seconds(flops), _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Trace pair by pair, chunk by chunk; a chunk that is done is not done again after a kill."""
    from . import _causal_trace_run

    return (yield from _causal_trace_run.run(context))
