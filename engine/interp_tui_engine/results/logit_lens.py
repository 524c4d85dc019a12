"""Result of `logit_lens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import Field

from ..payload import Headline, Payload, ResultFile, Row


class LensLayers(Payload):
    """What a lens reads at the last position, by layer."""

    answer_prob: Row = Field(description="probability of the answer")
    answer_rank: tuple[int | None, ...] = Field(description="its rank; 0 is the likeliest")
    top_token: tuple[str, ...] = Field(description="likeliest token")
    entropy: Row = Field(description="entropy, nats")
    kl_to_end: Row = Field(description="KL from the last layer's distribution, nats")
    crossover_layer: int | None = Field(description="first layer from which on the answer is the likeliest; null where it never is")


class LensHeldOut(Payload):
    """Both lenses on held-out text of the kind that the tuned one was fitted to, by layer."""

    rows: int | None = Field(description="rows of text")
    tokens: int | None = Field(description="tokens in them")
    logit_kl: Row = Field(description="mean KL to the end of the logit lens, nats a token")
    tuned_kl: Row = Field(description="of the tuned lens")
    identity_layers: tuple[int, ...] = Field(description="layers where fitting did not help: read as by the logit lens")


class Domain(Payload):
    """Both lenses on a text that the tuned one was not fitted to, by layer."""

    rows: int | None = Field(description="rows of text")
    tokens: int | None = Field(description="tokens in them")
    logit_kl: Row = Field(description="mean KL to the end of the logit lens, nats a token")
    tuned_kl: Row = Field(description="of the tuned lens")
    std_error: Row = Field(description="standard error of their difference, over rows")
    worse_layers: tuple[int, ...] = Field(description="layers where the tuned lens is further from the end")
    difference: float | None = Field(description="how much further, mean over layers but the last, nats")
    difference_std_error: float | None = Field(description="its standard error")

    def further(self, layer: int) -> float | None:
        """How much further from the end the tuned lens is at a layer, nats a token."""
        tuned, plain = self.tuned_kl[layer], self.logit_kl[layer]
        return None if tuned is None or plain is None else tuned - plain


class LogitLensResult(ResultFile, LensLayers):
    """What each layer would answer; `tuned` is the same through the tuned lens."""

    tokens: tuple[str, ...] = Field(description="tokens at the positions read")
    answer: str = Field(description="the answer asked for")
    layers: tuple[int, ...] = Field(description="the layers")
    tuned: LensLayers | None = Field(description="as above, through the tuned lens; null without one")
    held_out: LensHeldOut | None = Field(description="both lenses on held-out text; null without a lens fitted here")
    domains: Mapping[str, Domain] = Field(description="both lenses on other texts")


class LogitLensHeadline(Headline):
    """Where the answer is first the likeliest."""

    crossover_layer: int | None = Field(default=None, description="first layer from which on the answer is the likeliest")
    answer_prob: float | None = Field(default=None, description="its probability at the last layer read so far")
    tuned_crossover: int | None = Field(default=None, description="the same layer through the tuned lens")


class LensReading(NamedTuple):
    """What one lens reads at one layer, by position."""

    answer_prob: Row
    answer_rank: Row
    entropy: Row
    kl_to_end: Row
    top: tuple[tuple[str, ...], ...]
    top_prob: tuple[Row, ...]


class LensCell(Payload):
    """Series `cells`: one layer at every position read; lists are by position, `tuned_` ones are through the tuned lens."""

    layer: int | None = Field(default=None, description="the layer")
    answer_prob: Row = Field(default=(), description="probability of what comes next")
    answer_rank: Row = Field(default=(), description="its rank; 0 is the likeliest")
    entropy: Row = Field(default=(), description="entropy, nats")
    kl_to_end: Row = Field(default=(), description="KL from the last layer's distribution, nats")
    top: tuple[tuple[str, ...], ...] = Field(default=(), description="likeliest tokens, best first")
    top_prob: tuple[Row, ...] = Field(default=(), description="their probabilities")
    tuned_answer_prob: Row = Field(default=(), description="as answer_prob")
    tuned_answer_rank: Row = Field(default=(), description="as answer_rank")
    tuned_entropy: Row = Field(default=(), description="as entropy")
    tuned_kl_to_end: Row = Field(default=(), description="as kl_to_end")
    tuned_top: tuple[tuple[str, ...], ...] = Field(default=(), description="as top")
    tuned_top_prob: tuple[Row, ...] = Field(default=(), description="as top_prob")
    tokens: tuple[str, ...] = Field(default=(), description="tokens at the positions, in the first event")
    asked: tuple[str, ...] = Field(default=(), description="what comes next at each position, in the first event")
    layers: int | None = Field(default=None, description="layers of the model, in the first event")
    positions: tuple[int, ...] = Field(default=(), description="the positions, in the first event")
    held_out: LensHeldOut | None = Field(default=None, description="both lenses on held-out text, once the tuned one is fitted")

    def reading(self, *, tuned: bool) -> LensReading:
        """Through the tuned lens, or the logit lens."""
        if not tuned:
            return LensReading(self.answer_prob, self.answer_rank, self.entropy, self.kl_to_end, self.top, self.top_prob)
        ranks, tokens = self.tuned_answer_rank, self.tuned_top
        return LensReading(self.tuned_answer_prob, ranks, self.tuned_entropy, self.tuned_kl_to_end, tokens, self.tuned_top_prob)


class FitStep(Payload):
    """Series `fit`: the tuned lens's loss at a step."""

    kl: float | None = Field(description="mean KL over layers, nats a token")
    kl_first: float | None = Field(description="at the first layer")
    kl_last: float | None = Field(description="at the last layer")


LIVE: Mapping[str, type[Payload]] = {"cells": LensCell, "fit": FitStep}
