"""How much one feature brings about another, or a metric of the answer: gradient × activation, and exactly, by taking the feature away.

    weight(f → t) = mean over prompts of Σ_p (a_f(x_p) − b_f) ⟨∂t/∂x_p, d_f⟩     first order, one backward pass a target and a step
    exact(f → t)  = mean over prompts of t(x) − t(x with a_f := b_f at every p)    one forward pass a source

x_p is the residual stream after f's layer at position p, a_f reads f there, d_f is what f writes, b_f its value where it is absent. Targets
are taken at the last token: the metric, or the value of a feature of a later layer. The error of a dictionary stays as it is. Cf. sparse
feature circuits (Marks et al. 2024, arXiv 2403.19647).

A gradient at x itself says little of what is lost with a feature where the metric is flat, as an answer's odds are once it is certain. The
gradient is therefore averaged along the way from all features absent to all present (integrated gradients, Sundararajan et al. 2017, arXiv
1703.01365), at the midpoints of `steps` parts of it.

Legend: B prompts, P positions, D width, F features, T targets (the metric, then the features).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..sites.hooks import Edit, edited, reading
from ..sites.site import Site
from ..sites.site_map import SiteMap

Read = Callable[[Float[Tensor, "*rows D"]], Float[Tensor, "*rows"]]


@dataclass(frozen=True)
class Feature:
    """One feature: the layer after which it stands, how it is read, what it writes, and its value where it is absent."""

    layer: int
    read: Read
    writes: Float[Tensor, " D"]
    absent: float


@dataclass(frozen=True)
class PromptBatch:
    """Prompts as one batch, padded on the right, and the metric of each one's logits."""

    ids: Int[Tensor, "B P"]
    last: Int[Tensor, " B"]
    metric: Callable[[Float[Tensor, "B V"]], Float[Tensor, " B"]]

    @property
    def real(self) -> Bool[Tensor, "B P"]:
        """Which positions are tokens and no padding, (batch, pos)."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) <= self.last[:, None]


def weights(site_map: SiteMap, features: Sequence[Feature], prompts: PromptBatch, first: int, kept: float) -> Iterator[Float[Tensor, " F"]]:
    """For each target from the `first` on, the weights of all features, summed over prompts; 0 where one is not before the target.

    The gradients are taken where of each feature's (a_f − b_f), as it is unchanged, the share `kept` is there.
    """
    layers = sorted({feature.layer for feature in features})
    leaves: dict[int, Tensor] = {}

    with torch.no_grad():
        _, clean = _targets(site_map, features, prompts, [])
        gone = {layer: torch.zeros_like(value) for layer, value in clean.items()}
        away = [(feature.read(clean[feature.layer]) - feature.absent) * prompts.real for feature in features]
        for feature, away_BP in zip(features, away, strict=True):
            gone[feature.layer] += (1 - kept) * (away_BP[..., None] * feature.writes).to(gone[feature.layer].dtype)

    def leaf(layer: int) -> Callable[[Tensor], Tensor]:
        def add(value: Tensor) -> Tensor:
            leaves[layer] = torch.zeros_like(value, requires_grad=True)
            return (value.detach() if layer == layers[0] else value) - gone[layer] + leaves[layer]

        return add

    with torch.enable_grad():
        targets, _ = _targets(site_map, features, prompts, [Edit(Site("resid_post", layer), leaf(layer)) for layer in layers])
    for place, target in list(enumerate(targets))[first:]:
        before = [layer for layer in layers if place == 0 or layer < features[place - 1].layer]
        result = torch.zeros(len(features))
        if before and target.requires_grad:
            gradients = torch.autograd.grad(target.sum(), [leaves[layer] for layer in before], retain_graph=True, allow_unused=True)
            by_layer = {layer: gradient for layer, gradient in zip(before, gradients, strict=True) if gradient is not None}
            reached = [index for index, feature in enumerate(features) if feature.layer in by_layer]
            if reached:
                sums = [(away[i] * (by_layer[features[i].layer].float() @ features[i].writes)).sum() for i in reached]
                result[reached] = torch.stack(sums).float().cpu()
        yield result


def shares(steps: int) -> list[float]:
    """Where on the way the gradients are taken: the midpoints of its parts; with one step at its end, the model as it is."""
    return [1.0] if steps == 1 else [(step + 0.5) / steps for step in range(steps)]


def exact(site_map: SiteMap, features: Sequence[Feature], prompts: PromptBatch, source: int | None) -> Float[Tensor, " T"]:
    """All targets summed over prompts, with the `source` taken away at every position, or with all as it is (None)."""
    edits = []
    if source is not None:
        feature, real = features[source], prompts.real

        def remove(value: Tensor) -> Tensor:
            away_BP = (feature.absent - feature.read(value)) * real
            return value + (away_BP[..., None] * feature.writes).to(value.dtype)

        edits = [Edit(Site("resid_post", feature.layer), remove)]
    with torch.no_grad():
        targets, _ = _targets(site_map, features, prompts, edits)
        return torch.stack([target.sum() for target in targets]).float().cpu()


def _targets(
    site_map: SiteMap, features: Sequence[Feature], prompts: PromptBatch, edits: Sequence[Edit]
) -> tuple[list[Float[Tensor, " B"]], dict[int, Float[Tensor, "B P D"]]]:
    layers = sorted({feature.layer for feature in features} | {site_map.num_layers - 1})
    sites = [Site("resid_post", layer) for layer in layers]
    with edited(site_map, edits), reading(site_map, sites) as values:
        site_map.body(input_ids=prompts.ids, use_cache=False)
    stream = {layer: values[site] for layer, site in zip(layers, sites, strict=True)}
    rows = torch.arange(len(prompts.ids), device=prompts.ids.device)
    at_last = {layer: value[rows, prompts.last] for layer, value in stream.items()}
    logits = site_map.unembed(at_last[site_map.num_layers - 1]).float()
    return [prompts.metric(logits), *(feature.read(at_last[feature.layer]) for feature in features)], stream
