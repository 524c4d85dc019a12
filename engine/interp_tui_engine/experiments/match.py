"""Which feature of one model is which of another: two inspect runs, matched one to one by what their features are like."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..catalog import Estimate, Kind, Result
from ..digests import of_json
from ..errors import Problem
from ..events import Event, Metrics, Phase, Progress, RunStarted, Warned
from ..manifest import Manifest
from ..markdown import words
from ..numbers import as_finite
from ..payload import LEFT_OUT, given
from ..results.match import LIVE, FeatureMatch, MatchCase, MatchHeadline, MatchResult, ShownCard
from ..runtime import cost
from ..runtime.context import Context
from ..specs import FILE, Table
from ..uncertainty import Uncertainty
from . import _features
from ._features.evidence_files import file_of

TOY = ("builtin:left", "builtin:right")
EXAMPLE: dict[str, Any] = {"name": "planted", "params": {"left": TOY[0], "right": TOY[1]}}
BYTES_A_SECOND = 2e6
"""What is read and compared, with its shuffles, a second."""
AXES = ("text", "activation", "decoder", "causal")


class Params(Table):
    """The two sides, and how much each axis counts."""

    left: str = Field(min_length=1, json_schema_extra=FILE, description="an inspect run or its report.json; builtin:left is a planted one")
    right: str = Field(min_length=1, json_schema_extra=FILE, description="the other; builtin:right is the planted other side")
    min_score: float = Field(0.0, ge=0.0, le=1.0, description="pairs below this are left unmatched")
    assignment: Literal["one-to-one", "peer"] = Field(
        "one-to-one",
        description="one-to-one: each feature once, the largest total score; peer: interp-lab's best pairs, features repeated, its score",
    )
    top: int = Field(10, ge=1, description="how many pairs assignment = 'peer' keeps")
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        {"text": 0.35, "activation": 0.25, "decoder": 0.20, "causal": 0.20},
        description="weights of the axes text, activation, decoder, causal",
    )
    shuffles: int = Field(
        100, ge=0, le=10_000, description="draws of pairs that are not the same feature, which say what chance scores; 0: none"
    )


def check(manifest: Manifest) -> list[Problem]:
    """Weights of axes that are none, or all 0; a planted side that does not exist."""
    params: Params = manifest.params
    problems = []
    for name in params.weights:
        if name not in AXES:
            problems.append(Problem(f"params.weights.{name}", f"is no axis; one of {', '.join(AXES)}", value=params.weights[name]))
    if not any(params.weights.values()):
        problems.append(Problem("params.weights", "are all 0", value=params.weights))
    for side in ("left", "right"):
        source = getattr(params, side)
        if source.startswith("builtin:") and source not in TOY:
            problems.append(Problem(f"params.{side}", f"{source!r} is not there; {TOY[0]} and {TOY[1]} are", value=source))
        problems += _features.check_cards(f"params.{side}", source)
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the sizes of the files: features are few beside the records they were ranked on."""
    sides = [Path(side) for side in (manifest.params.left, manifest.params.right)]
    files = [side / "result.json" if side.is_dir() else side for side in sides]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return Estimate(cost.START_WITHOUT_TORCH + size / BYTES_A_SECOND, 200 << 20, (64 << 10) + size)


def run(context: Context) -> Generator[Event, None, Result]:
    """Compare every pair, assign, and score strangers likewise. Takes seconds: begun anew after a kill."""
    from ..features import matching, peer_matching

    params, manifest = context.manifest.params, context.manifest
    yield RunStarted("match", manifest.name, device="cpu", resumed=context.resumed)
    yield Phase("reading reports")
    left, right = (_cards(source, manifest.seed) for source in (params.left, params.right))
    drawn = f", {params.shuffles} shuffles" if params.assignment == "one-to-one" else ""
    yield Phase("matching", f"{len(left)} × {len(right)} features{drawn}")
    weights = {name: params.weights.get(name, 0.0) for name in AXES if params.weights.get(name, 0.0)}
    limit = math.nan
    if params.assignment == "peer":
        assigned = peer_matching.best_pairs(left, right, weights=weights, least=params.min_score, top=params.top)
    else:
        assigned, limit = matching.match(left, right, weights=weights, least=params.min_score, shuffles=params.shuffles, seed=manifest.seed)
    effects = matching.effects_of(left), matching.effects_of(right)
    matches = []
    for index, pair in enumerate(assigned):
        a, b = left[pair.left], right[pair.right]
        left_effect, right_effect = effects[0][pair.left], effects[1][pair.right]
        match = FeatureMatch(
            left=a["feature_id"],
            right=b["feature_id"],
            score=pair.score,
            components=pair.components,
            null_quantile=as_finite(pair.quantile),
            left_label=a.get("label", ""),
            right_label=b.get("label", ""),
            left_signed_effect=left_effect[1] if left_effect else None,
            right_signed_effect=right_effect[1] if right_effect else None,
        )
        matches.append(match)
        yield Metrics("case", index, MatchCase(**given(match), left_card=_shown(a), right_card=_shown(b)).as_json())
    yield Progress(len(matches), len(matches), "matches", 0.0)
    used = {name for match in matches for name in match.components}
    if matches and used <= {"text"}:
        yield Warned("only texts could be compared: activations differ in length or are missing, and there are no effects of one kind")
    unknown = params.assignment == "peer"
    beyond = None if unknown else sum((match.null_quantile or 0.0) >= 0.95 for match in matches)
    values = MatchResult(
        matches=tuple(matches),
        left_features=len(left),
        right_features=len(right),
        null_score_95=as_finite(limit),
        beyond_chance=beyond,
        null_quantile=matches[0].null_quantile if matches else None,
    )
    written = values.as_json()
    counted = LEFT_OUT if beyond is None else beyond
    headline = MatchHeadline(matches=len(matches), beyond_chance=counted, best=matches[0].score if matches else LEFT_OUT)
    digest = of_json(written["matches"])
    return Result(written, headline.as_json(), _report(manifest.name, values), {"matches": digest}, _uncertainty(values))


def _uncertainty(values: MatchResult) -> dict[str, Uncertainty]:
    """The best score beside what 95 % of chance matches stay below; how many lie beyond it, beside how many chance alone puts there."""
    matches, limit = values.matches, values.null_score_95
    if not matches or limit is None or matches[0].score is None:
        return {}
    best = Uncertainty(note="one pair of feature sets", control=limit, clear=matches[0].score > limit)
    beyond = Uncertainty(note="one pair of feature sets", control=0.05 * len(matches))
    return {"best": best, "matches.0.score": best, "beyond_chance": beyond}


def _cards(source: str, seed: int) -> list[dict[str, Any]]:
    if source in TOY:
        from ..features.synthetic import twins

        left, right, _ = twins(seed, features=24, shared=16, noise=0.5)
        return left if source == TOY[0] else right
    from ..features.cards import read_report

    return list(read_report(file_of(source, "report"))["cards"])


def _shown(card: Mapping[str, Any]) -> ShownCard:
    return ShownCard(
        feature_id=card.get("feature_id"),
        model=card.get("model"),
        layer=card.get("layer"),
        label=card.get("label"),
        explanation=card.get("explanation"),
        examples=tuple(str(example)[:300] for example in (card.get("examples") or [])[:4]),
    )


def _report(name: str, values: MatchResult) -> str:
    limit = values.null_score_95
    lines = [f"# match · {name}", "", f"**{values.beyond_chance} of {len(values.matches)} matches are beyond chance**"]
    if values.beyond_chance is None:
        lines[-1] = f"**{len(values.matches)} pairs; nothing says what chance would score** (assignment = 'peer')."
    elif limit is not None:
        lines[-1] += f": their score is above {limit:.3f}, where 95 % of pairs stay that are matched likewise within one side, so that they"
        lines[-1] += f" are not the same feature. Were no feature on both sides, about {0.05 * len(values.matches):.0f} would be."
    else:
        lines[-1] += "."
    lines += ["", "| left | right | score | beyond chance's | axes | effects |", "|---|---|---:|---:|---|---|"]
    for match in values.matches[:100]:
        axes = ", ".join(f"{key} {value:.2f}" for key, value in match.components.items())
        effects = " / ".join("–" if e is None else f"{e:+.2f}" for e in (match.left_signed_effect, match.right_signed_effect))
        share = "–" if match.null_quantile is None else f"{match.null_quantile:.1%}"
        lines.append(f"| {words(match.left)} | {words(match.right)} | {match.score:.3f} | {share} | {axes} | {effects} |")
    return "\n".join([*lines, ""])


KIND = Kind(
    name="match",
    title="Match features",
    question="Which feature of this model is which feature of that one?",
    group="Features",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=MatchResult,
    headline=MatchHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
