"""Attribution edges between the features of a report, and from them to the criterion, on a running model. Imports torch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...events import Event, Phase, Warned
from ...features import attribution, graph, ids, layer_convention
from ...features.attribution import Feature, PromptBatch
from ...features.layer_convention import convention_of, in_blocks
from ...features.prompts import without_repeats
from ...models.halving import FittingRows
from ...payload import given
from ...results.attribution_graph import Attributed, Checked, CheckedEdges
from ...runtime.context import Context
from ...runtime.open_model import open_model
from ...runtime.steps import Numbers, Steps
from ...sites.row_memory import bytes_of_row
from ...sites.site_map import SiteMap
from .. import _features
from .._features.changed_model import Bench, bench_of
from .._features.space import Space, spaces_of
from .params import Params

PROMPTS = 32
"""In one batch."""


def attributed(
    context: Context, params: Params, metric: str, cards: Sequence[Mapping[str, Any]]
) -> Generator[Event, None, tuple[list[dict[str, Any]], Attributed]]:
    """The edges, strongest first, and what holds for all of them. Raises UserError for features or prompts that do not fit the model."""
    model, site_map = yield from open_model(context.manifest)
    convention = convention_of(cards) if params.layer_convention == "auto" else params.layer_convention
    named = [(card, in_blocks(card["feature_id"], convention)) for card in cards]
    by_name = {name: (card, parsed.layer) for card, name in named if (parsed := ids.parse(name)) is not None}
    if not by_name:
        raise UserError("none of the report's features can be found in a model", ids.FORMS)
    tables = {name: getattr(params, name) for name in ("prompts", "features", "sae", "directions")}
    asked = _features.FeatureParams.model_validate({"criterion": "the report's", **tables})
    layers = sorted({layer for _, layer in by_name.values()})
    for remark in layer_convention.remark(convention, site_map.num_layers - 1, layers):
        yield Warned(remark)
    spaces = spaces_of(asked, layers, site_map, model.device)
    places = {name: (space, index) for space in spaces for index, name in enumerate(space.names)}
    kept = [name for name in by_name if name in places]
    if not kept:
        raise UserError(f"none of the report's features is among the model's, such as {next(iter(places))!r}", "is params.features right?")
    if len(kept) < len(cards):
        yield Warned(
            f"{len(cards) - len(kept)} of {len(cards)} features are not among the model's {params.features} features: no attribution"
        )
    prompts, repeats = without_repeats(_features.prompts_of(str(params.prompts)))
    positives = [prompt for prompt in prompts if prompt.score > 0.5][: params.most_prompts]
    negatives = [prompt for prompt in prompts if prompt.score <= 0.5]
    negatives = negatives[:: max(1, len(negatives) // params.most_prompts)][: params.most_prompts]
    if not positives or not negatives:
        raise UserError(f"{len(positives)} positive and {len(negatives)} negative prompts", "one of each is the least")
    bench, warnings = bench_of(model, site_map, positives + negatives, metric, params.answers, 64)
    for warning in (*repeats, *warnings):
        yield Warned(warning)
    yield Phase("attributing", f"{len(kept)} features on {len(positives)} prompts")
    features = [_feature(*places[name], bench, len(positives)) for name in kept]
    longest = int(bench.tokens.ids.shape[1])
    # every block's streams are held, for the way back
    together = FittingRows(model.device, site_map.num_layers * bytes_of_row(site_map, longest), PROMPTS)
    batches = [range(start, min(start + together.count, len(positives))) for start in range(0, len(positives), together.count)]
    passes = _Passes(site_map, features, bench, together)
    estimate = np.zeros((len(features), len(features) + 1))  # source, target
    points = attribution.shares(params.steps)
    targets = [(batch, share, target) for batch in range(len(batches)) for share in points for target in range(len(features) + 1)]
    for (_, _, target), numbers in zip(targets, (yield from _estimates(context, passes, batches, targets)), strict=True):
        estimate[:, target] += numbers.astype(np.float64) / (len(positives) * len(points))
    # the metric and features' values are of different units: each kind of target is ordered by its own strongest edge
    share = np.abs(estimate)
    for kind in (slice(0, 1), slice(1, None)):
        share[:, kind] /= share[:, kind].max() or 1.0
    pairs = sorted(zip(*np.nonzero(estimate), strict=True), key=lambda pair: -share[pair])[: params.edges]
    checked = list(dict.fromkeys(int(source) for source, _ in pairs[: params.exact]))
    yield Phase("taking features away", f"{len(checked)} sources of the {min(params.exact, len(pairs))} strongest edges")
    taken: list[tuple[int, int | None]] = [(batch, source) for batch in range(len(batches)) for source in (None, *checked)]

    def without(step: tuple[int, int | None]) -> Numbers:
        return passes.exact(batches[step[0]], step[1])

    steps = Steps(context, taken, unit="sources", size=lambda step: 1, name="exact")
    values = {source: np.zeros(len(features) + 1) for source in (None, *checked)}
    for (_, source), numbers in zip(taken, (yield from steps.run(without, lambda *_: [])), strict=True):
        values[source] += numbers.astype(np.float64) / len(positives)
    effect = {source: (values[None] - values[source]).tolist() for source in checked}
    names = [graph.CRITERION, *(graph.node_id(by_name[name][0]) for name in kept)]
    edges = [
        {
            **{"source": names[1 + source], "target": names[target], "type": "attribution", "attribution": float(estimate[source, target])},
            "exact": effect[source][target] if source in effect else None,
        }
        for source, target in pairs
    ]
    return edges, Attributed(attribution=len(edges), **given(checked_of(edges)), metric=metric, prompts=len(positives))


def checked_of(edges: Sequence[Mapping[str, Any]]) -> CheckedEdges:
    """How attributions stand beside exact effects, apart for edges to the criterion, which are of the metric, and for those to features.

    `correlation_with_exact` is of all, where all are of one kind: over two units r says mostly which edge is of which.
    """
    both = [edge for edge in edges if edge["exact"] is not None]
    kinds = {
        "criterion": [(edge["attribution"], edge["exact"]) for edge in both if edge["target"] == graph.CRITERION],
        "features": [(edge["attribution"], edge["exact"]) for edge in both if edge["target"] != graph.CRITERION],
    }
    by_kind = {name: Checked(edges=len(pairs), correlation=_correlation(pairs), opposed=_opposed(pairs)) for name, pairs in kinds.items()}
    alone = [pairs for pairs in kinds.values() if pairs]
    whole = _correlation(alone[0]) if len(alone) == 1 else None
    opposed = sum(_opposed(pairs) for pairs in kinds.values())
    return CheckedEdges(
        checked=len(both),
        opposed=opposed,
        correlation_with_exact=whole,
        checked_criterion=by_kind["criterion"],
        checked_features=by_kind["features"],
    )


class _Passes:
    """Forward passes over batches of prompts, or over parts of them where memory is short; what they give is summed over prompts."""

    def __init__(self, site_map: SiteMap, features: Sequence[Feature], bench: Bench, together: FittingRows) -> None:
        self._site_map, self._features, self._together = site_map, features, together
        self._batch = lru_cache(maxsize=4)(lambda rows: _batch(bench, rows))
        self._running: dict[tuple[range, float, int], Iterator[Tensor]] = {}

    def weights(self, prompts: range, share: float, target: int) -> Numbers:
        """All features' weights for a target; its pass is kept for the next one, but for that of a part, which would be one too many."""

        def of_prompts(some: range) -> Tensor:
            running = self._running.pop((some, share, target), None)
            self._running.clear()
            running = running or attribution.weights(self._site_map, self._features, self._batch(some), target, share)
            weights = next(running)
            self._running[some, share, target + 1] = running
            return weights

        return torch.stack([weights for _, weights in self._together.each(prompts, of_prompts)]).sum(0).numpy()

    def exact(self, prompts: range, source: int | None) -> Numbers:
        """All targets without a source, or as they are."""
        self._running.clear()

        def of_prompts(some: range) -> Tensor:
            return attribution.exact(self._site_map, self._features, self._batch(some), source)

        return torch.stack([values for _, values in self._together.each(prompts, of_prompts)]).sum(0).numpy()


def _estimates(
    context: Context, passes: _Passes, batches: Sequence[range], targets: Sequence[tuple[int, float, int]]
) -> Generator[Event, None, list[Numbers]]:
    """The weights of all features for each batch, share and target; a pass for each of the first two, from the first target not done."""

    def weights(step: tuple[int, float, int]) -> Numbers:
        batch, share, target = step
        return passes.weights(batches[batch], share, target)

    return (yield from Steps(context, targets, unit="targets", size=lambda step: 1, name="attribution").run(weights, lambda *_: []))


def _feature(space: Space, index: int, bench: Bench, positives: int) -> Feature:
    """A feature as attribution takes it. Absent is 0 for a latent; for others, never 0, their mean on the negatives' last tokens."""
    clean_PD = bench.clean(space.layer)
    absent = 0.0 if space.dictionary is not None else float(space.read(clean_PD[positives:])[:, index].mean())

    def read(x: Tensor) -> Tensor:
        return space.read(x)[..., index].float()

    return Feature(space.layer, read, space.direction(index, clean_PD.shape[1], clean_PD.device).float(), absent)


def _batch(bench: Bench, rows: Sequence[int]) -> PromptBatch:
    last = bench.tokens.last[list(rows)]

    def metric(logits: Tensor) -> Tensor:
        return torch.stack([bench.score(row, bench.answers[place]) for row, place in zip(logits, rows, strict=True)])

    return PromptBatch(bench.tokens.ids[list(rows)][:, : int(last.max()) + 1], last, metric)


def _opposed(pairs: Sequence[tuple[float, float]]) -> int:
    return sum(first * measured < 0 for first, measured in pairs)


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < 3:
        return None
    correlation = float(np.corrcoef(np.array(pairs).T)[0, 1])
    return correlation if np.isfinite(correlation) else None
