"""The logit lens (nostalgebraist 2020): what the residual stream of each layer would predict if the model ended there.

    logits_l = unembed(final_norm(resid_post_l))

with the model's own final norm, unembedding and soft cap. Of the last layer they are the model's own logits: its KL to the end is 0. The
crossover is the first layer from whose stream the answer is the likeliest token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.halving import FittingRows
from ..sites.answers import entropy, kl, log_prob, rank, top_tokens
from ..sites.hooks import activations
from ..sites.row_memory import fitting_logits, fitting_rows
from ..sites.site import Site
from ..sites.site_map import SiteMap


class Reading(NamedTuple):
    """What one layer's stream says at some positions; probabilities, ranks from 0, and nats."""

    answer_prob: Float[Tensor, " positions"]
    answer_rank: Int[Tensor, " positions"]
    top_prob: Float[Tensor, "positions k"]
    top_token: Int[Tensor, "positions k"]
    entropy: Float[Tensor, " positions"]
    kl_to_end: Float[Tensor, " positions"]


def streams(site_map: SiteMap, ids: Int[Tensor, "rows pos"], together: FittingRows | None = None) -> Float[Tensor, "layers tokens d_model"]:
    """The residual stream that leaves each block, at the positions of all rows one after another.

    together: how many rows pass the model at a time, where several calls share what turned out to fit.
    """
    sites = [Site("resid_post", layer) for layer in range(site_map.num_layers)]

    def of_rows(some: Tensor) -> Tensor:
        values = activations(site_map, some, sites)
        return torch.stack([values[site].flatten(0, 1) for site in sites])

    together = together or fitting_rows(site_map, ids.shape[1], len(ids), logits=0)
    parts = [stream for _, stream in together.each(ids, of_rows)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


@torch.no_grad()
def read(
    site_map: SiteMap,
    stream: Float[Tensor, "positions d_model"],
    end: Float[Tensor, "positions d_model"],
    answers: Sequence[Sequence[int]],
    k: int,
    together: FittingRows | None = None,
) -> Reading:
    """One layer's reading; `end` is the last layer's stream at the same positions, `answers` the token set asked about at each.

    So many positions at a time as their logits fit in memory; `together` is how many that is, where readings share what turned out.
    """

    def of_positions(some: range) -> Reading:
        part = slice(some.start, some.stop)
        return _read(site_map, stream[part], end[part], answers[part], k)

    positions = range(stream.shape[0])
    together = together or fitting_logits(site_map, len(positions))
    parts = [reading for _, reading in together.each(positions, of_positions)]
    return parts[0] if len(parts) == 1 else Reading(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _read(site_map: SiteMap, stream: Tensor, end: Tensor, answers: Sequence[Sequence[int]], k: int) -> Reading:
    logits, final = site_map.unembed(stream).float(), site_map.unembed(end).float()
    probs = torch.stack([log_prob(row, answer) for row, answer in zip(logits, answers, strict=True)]).exp()
    ranks = torch.stack([rank(row, answer) for row, answer in zip(logits, answers, strict=True)])
    return Reading(probs, ranks, *top_tokens(logits, k), entropy(logits), kl(final, logits))


def crossover(ranks: Sequence[int]) -> int | None:
    """The first layer whose likeliest token is the answer; None where none is."""
    return next((layer for layer, place in enumerate(ranks) if place == 0), None)
