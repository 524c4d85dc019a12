"""What an attention head does, by its scores on token sequences that repeat (Elhage et al. 2021; Olsson et al. 2022, arXiv 2209.11895).

On rows of random tokens r₁…r_n r₁…r_n, with weights a(query → key), averaged over queries:

    previous token   a(i → i−1)
    duplicate token  a(i → i−n), from the second half to the same token in the first
    induction        a(i → i−n+1), from the second half to what came after that token in the first
    copying          share of tokens t among the ten whose logits the head raises most when it attends to t alone

The first three are 1 for a perfect head, and about 1/i for one that attends evenly to all i keys it sees. Copying is that of the head's
output-value circuit on bare embeddings, W_U W_O W_V norm(W_E), through the block's own norm; chance is ten in the vocabulary's size.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.halving import FittingRows
from ..models.tensor_parallel import part_for
from ..sites.branched_run import record
from ..sites.hooks import activations, capture
from ..sites.row_memory import bytes_of_row, device_of, fitting_rows
from ..sites.site import Site
from ..sites.site_map import SiteMap

TOP = 10
SCORES = ("previous_token", "duplicate_token", "induction", "copying")
NAMED_FROM = 0.4
"""Score from which a head is called by what it does: Olsson et al. call heads above this induction heads."""


class HeadScores(NamedTuple):
    """Each (layers, heads), from 0 to 1."""

    previous_token: Float[Tensor, "layers heads"]
    duplicate_token: Float[Tensor, "layers heads"]
    induction: Float[Tensor, "layers heads"]
    copying: Float[Tensor, "layers heads"]

    def name_of(self, layer: int, head: int) -> str | None:
        """What the head is called by its greatest score; None where none reaches the mark."""
        scores = {name: float(getattr(self, name)[layer, head]) for name in SCORES[:3]}
        best = max(scores, key=scores.__getitem__)
        return best.replace("_", " ") if scores[best] >= NAMED_FROM else None


def head_scores(
    site_map: SiteMap, vocab: int, *, length: int, rows: int, seed: int, copies_of: Collection[tuple[int, int]] | None = None
) -> HeadScores:
    """Scores of every head on `rows` random sequences of `length` tokens, said twice.

    Copying is the dear one, an unembedding for each head: `copies_of` names the (layer, head) to have it, the others' is NaN.
    """
    draw = torch.Generator().manual_seed(seed)
    half = torch.randint(0, vocab, (rows, length), generator=draw)
    ids = torch.cat([half, half], dim=1).to(next(site_map.embed.parameters()).device)
    sites = [Site("attn_pattern", layer) for layer in range(site_map.num_layers)]

    def stripes(some: Tensor) -> Float[Tensor, "scores layers heads"]:
        patterns = activations(site_map, some, sites)
        places = ((1, 1), (length, length), (length - 1, length))
        means = [[_stripe(patterns[site].float(), back, first) for site in sites] for back, first in places]
        return torch.stack([torch.stack(by_layer) for by_layer in means]).cpu()

    held = bytes_of_row(site_map, 2 * length, logits=0) + 4 * len(sites) * site_map.num_heads * (2 * length) ** 2
    shares = [len(some) / rows * means for some, means in FittingRows(ids.device, held, rows).each(ids, stripes)]
    previous, duplicate, induction = sum(shares[1:], shares[0])
    tokens = torch.tensor(sorted(set(half.flatten().tolist())))
    return HeadScores(previous, duplicate, induction, copying(site_map, tokens, copies_of).cpu())


def _stripe(pattern: Float[Tensor, "batch heads query key"], back: int, first: int) -> Float[Tensor, " heads"]:
    """Mean weight from each query, from `first` on, to the key `back` places before it."""
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., first - back :].mean((0, -1))


@torch.no_grad()
def copying(site_map: SiteMap, tokens: Tensor, only: Collection[tuple[int, int]] | None = None) -> Float[Tensor, "layers heads"]:
    """Share of tokens that a head attending to them alone puts among its ten most promoted; NaN for heads that are not asked for.

    A sequence of one token leaves a head nothing else to attend to, so that z there is its value of the token. tokens: ids, (count,).
    """
    tokens = tokens.to(device_of(site_map))
    together = fitting_rows(site_map, 1, len(tokens), logits=4)
    shares = [len(some) / len(tokens) * hits for some, hits in together.each(tokens, lambda some: _copied(site_map, some, only))]
    return sum(shares[1:], shares[0])


def _copied(site_map: SiteMap, tokens: Tensor, only: Collection[tuple[int, int]] | None) -> Float[Tensor, "layers heads"]:
    fork = record(site_map, tokens[None, :1])
    embedded = site_map.embed(tokens)[:, None]
    layers_copying = []
    for layer in range(site_map.num_layers):
        site = Site("z", layer)
        with capture(site_map, [site]) as seen:
            fork.block(layer, embedded)
        z = seen[site][:, 0]
        none = torch.full((), torch.nan, device=z.device)
        asked = [only is None or (layer, head) in only for head in range(site_map.heads("z"))]
        layers_copying.append(torch.stack([_own(site_map, layer, z, head, tokens) if asked[head] else none for head in range(len(asked))]))
    return torch.stack(layers_copying)


def _own(site_map: SiteMap, layer: int, z: Tensor, head: int, tokens: Tensor) -> Tensor:
    out = site_map.port(Site("z", layer)).module
    only = torch.zeros_like(z)
    only[:, head] = z[:, head]
    sent = part_for(out, only.flatten(1))
    promoted = site_map.head(out(sent) - out(torch.zeros_like(sent)))
    hit: Tensor = (promoted.topk(min(TOP, promoted.shape[-1]), dim=-1).indices == tokens[:, None]).any(-1)
    return hit.float().mean()
