"""BatchTopK: a batch keeps its B·k largest codes, so that inputs share the budget (Bussmann et al. 2024, arXiv 2412.06410)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .architecture import STANDARD, Architecture, Pass, preactivations, squared_error
from .names import Sparsity
from .sparse import Codes, Pattern, attach_encoder, decode, from_dense, offsets_of
from .topk import AT_ONCE, fired, grouped_preactivations
from .weights import Weights

FOLLOW = 0.01
"""Weight of the newest batch in the running threshold."""
CANDIDATES = 0.8
"""Entries above this share of the running threshold are looked at first; the k-th largest is nearly always among them."""


ARCHITECTURE = "batch_topk"
SETTINGS = {"k": 32}


@dataclass(frozen=True)
class BatchTopK(Architecture):
    """z keeps the B·k largest of ReLU(W_enc(x − b_dec) + b_enc) over the whole batch, loss ‖x − x̂‖².

    At use, where an input must not depend on its neighbours, a latent fires above θ = the running mean of the smallest code kept: the
    codes of a JumpReLU dictionary, as which it is saved.
    """

    k: int
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "jumprelu"
    canonical: ClassVar[bool] = False
    tensors: ClassVar[Mapping[str, str]] = {**STANDARD, "threshold": "threshold"}

    @classmethod
    def of(cls, latents: int, sparsity: Sparsity) -> Self:
        return cls(sparsity.k)

    @classmethod
    def restored(cls, config: Mapping[str, Any], ours: Mapping[str, Any]) -> Architecture | None:
        return BatchTopK(ours["k"]) if type(ours.get("k")) is int else None

    def begin(self, weights: Weights) -> Weights:
        return replace(weights, threshold=torch.zeros_like(weights.b_enc))

    def train(self, weights: Weights, x_BD: Float[Tensor, "b d"], pressure: float) -> Pass:
        codes = batch_codes(weights, x_BD, self.k)
        reconstruction_BD = decode(codes, weights.decoder) + weights.b_dec
        error = squared_error(x_BD, reconstruction_BD)
        return Pass(reconstruction_BD, error, error, fired(codes), smallest(codes))

    @torch.no_grad()
    def encode(self, weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
        return above_threshold(weights, x_BD)

    def settle(self, weights: Weights, done: Pass) -> None:
        follow_threshold(weights, done)


def batch_codes(weights: Weights, x_BD: Float[Tensor, "b d"], k: int) -> Codes:
    """The B·k largest positive codes of the batch, differentiable."""
    if x_BD.device.type != "cpu":
        return _batch_codes_of_device(weights, x_BD, k)
    with torch.no_grad():
        hidden_BM = preactivations(weights, x_BD).float()
        assert weights.threshold is not None
        kept = largest(hidden_BM.view(-1), k * x_BD.shape[0], CANDIDATES * float(weights.threshold[0]))
        kept = kept[hidden_BM.view(-1)[kept] > 0].sort().values  # by input, then by latent
        pattern = Pattern(kept % weights.latents, offsets_of(kept // weights.latents, x_BD.shape[0]), weights.latents)
        picked_N = hidden_BM.view(-1)[kept]
        centred_BD = x_BD - weights.b_dec
    return Codes(attach_encoder(picked_N, pattern, centred_BD, weights.encoder, weights.b_enc, weights.b_dec), pattern)


def _batch_codes_of_device(weights: Weights, x_BD: Float[Tensor, "b d"], k: int) -> Codes:
    """The same without the host: always B·k entries, those that are not positive with code 0, found without a guess."""
    with torch.no_grad():
        picked_N, kept = largest_of_groups(weights, x_BD, k * x_BD.shape[0])
        pattern = Pattern(kept % weights.latents, offsets_of(kept // weights.latents, x_BD.shape[0]), weights.latents)
        centred_BD = x_BD - weights.b_dec
    attached_N = attach_encoder(picked_N, pattern, centred_BD, weights.encoder, weights.b_enc, weights.b_dec)
    return Codes(attached_N.relu(), pattern)


def largest_of_groups(weights: Weights, x_BD: Float[Tensor, "b d"], count: int, at_once: int = AT_ONCE) -> tuple[Tensor, Tensor]:
    """The `count` largest pre-activations of the batch in the order of their places in (b, m), and these places; by groups of latents."""
    values, places = x_BD.new_empty(0, dtype=torch.float32), torch.empty(0, dtype=torch.int64, device=x_BD.device)
    for start, hidden_BG in grouped_preactivations(weights, x_BD, at_once):
        group = hidden_BG.shape[1]
        top = hidden_BG.float().reshape(-1).topk(min(count, hidden_BG.numel()), sorted=False)
        there = top.indices // group * weights.latents + top.indices % group + start
        values, places = torch.cat([values, top.values]), torch.cat([places, there])
        if values.shape[0] > count:
            kept = values.topk(count, sorted=False)
            values, places = kept.values, places[kept.indices]
    order = places.argsort()
    return values[order], places[order]


def largest(values: Float[Tensor, " n"], count: int, guess: float) -> Tensor:
    """Where the `count` largest values are. Exact: if fewer than that lie above `guess`, all are searched. Indices, (count,)."""
    candidates = (values > guess).nonzero().squeeze(1)
    if candidates.numel() < count:
        return values.topk(count, sorted=False).indices
    return candidates[values[candidates].topk(count, sorted=False).indices]


def above_threshold(weights: Weights, x_BD: Float[Tensor, "b d"]) -> Codes:
    """z = h where h > θ (and h > 0), else 0."""
    assert weights.threshold is not None
    hidden_BM = preactivations(weights, x_BD).float()
    return from_dense(hidden_BM.relu() * (hidden_BM > weights.threshold))


def smallest(codes: Codes) -> Float[Tensor, ""] | None:
    """The smallest code kept that is positive, if any was; off the CPU inf says that none was."""
    values = codes.values.detach()
    if values.device.type != "cpu":
        return values.where(values > 0, torch.inf).min()
    return values.min() if values.numel() else None


def follow_threshold(weights: Weights, done: Pass) -> None:
    """θ ← (1 − .01)θ + .01·smallest code kept; the first batch sets it."""
    assert weights.threshold is not None
    if done.smallest is not None and done.smallest.device.type != "cpu":
        rate = torch.where(weights.threshold == 0.0, 1.0, FOLLOW)
        moved = weights.threshold.lerp(done.smallest.expand_as(weights.threshold), rate)
        weights.threshold.copy_(torch.where(done.smallest.isfinite(), moved, weights.threshold))
    elif done.smallest is not None:
        first = float(weights.threshold[0]) == 0.0
        weights.threshold.lerp_(done.smallest.expand_as(weights.threshold), 1.0 if first else FOLLOW)
