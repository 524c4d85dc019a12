"""Result of `causal_trace`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Grid, Headline, Payload, ResultFile, Row
from .reach import Reach


class Peak(Payload):
    """The place that restores most."""

    site: str = Field(description="the site")
    layer: int | None = Field(description="its layer")
    position: int | None = Field(description="its column")
    token: str = Field(description="what the column is called")
    recovery: float | None = Field(description="share of the reach that it restores")


class PeakHeldOut(Payload):
    """The largest recovery, chosen on one half of the pairs and measured on the other."""

    recovery: float | None = Field(description="share of the reach")
    cells: tuple[str, ...] = Field(description="the place that each half chose")


class TopHead(Payload):
    """A head that restores much."""

    head: str = Field(description="L1H0: layer and head")
    position: int | None = Field(description="its column")
    token: str = Field(description="what the column is called")
    recovery: float | None = Field(description="share of the reach that it restores")


class GridInterval(Payload):
    """95 % interval of a grid over pairs."""

    low: Grid = Field(description="lower ends, [layer][position]")
    high: Grid = Field(description="upper ends")


class CausalTraceResult(ResultFile):
    """What each place restores of the clean answer."""

    tokens: tuple[str, ...] = Field(description="the columns: tokens, or their roles where pairs differ")
    corrupt_tokens: tuple[str, ...] | None = Field(description="tokens of the corrupt prompt; null where pairs differ")
    layers: tuple[int, ...] = Field(description="the rows")
    metric: str = Field(description="what is measured: logit_diff, prob, …")
    clean_metric: float | None = Field(description="the metric on clean prompts")
    corrupt_metric: float | None = Field(description="the metric on corrupt prompts")
    recovery: Mapping[str, Grid] = Field(description="by site: [layer][position], share of the reach restored")
    peak: Peak = Field(description="the place that restores most")
    peak_held_out: PeakHeldOut | None = Field(description="without the choice's luck; null for one pair")
    pairs: int | None = Field(description="pairs of prompts")
    reach: Reach = Field(description="how far the two ends lie apart")
    recovery_heads: tuple[Grid, ...] = Field(default=(), description="[layer][position][head], where heads are traced")
    top_heads: tuple[TopHead, ...] = Field(default=(), description="the heads that restore most")
    interval: Mapping[str, GridInterval] = Field(default_factory=dict, description="by site, over several pairs")


class CausalTraceHeadline(Headline):
    """Where the answer is read from and where it arrives is in `answer`."""

    clean_metric: float | None = Field(default=None, description="the metric on clean prompts")
    corrupt_metric: float | None = Field(default=None, description="the metric on corrupt prompts")
    peak: str = Field(default="", description="the place that restores most")
    recovery: float | None = Field(default=None, description="share of the reach that it restores")
    verdict: str = Field(default="", description="what speaks against the numbers")


class TraceCell(Payload):
    """Series `cells`: a batch of places of one pair; the pair's first event also says what its grid is."""

    pair: int | None = Field(description="number of the pair")
    clean_metric: float | None = Field(description="the metric on its clean prompt")
    corrupt_metric: float | None = Field(description="the metric on its corrupt prompt")
    cells: tuple[tuple[int | None, ...], ...] = Field(description="[site, layer, position, head] of each place")
    recovery: Row = Field(description="share of the reach that each restores")
    pairs: int | None = Field(default=None, description="pairs there are")
    sites: tuple[str, ...] = Field(default=(), description="names of the sites; heads count as one more")
    heads: int | None = Field(default=None, description="heads a layer; 0 where none are traced")
    layers: int | None = Field(default=None, description="layers of the model")
    first: int | None = Field(default=None, description="first position that is traced")
    last: int | None = Field(default=None, description="last position that is traced")
    metric: str = Field(default="", description="what is measured")
    tokens: tuple[str, ...] = Field(default=(), description="tokens of the clean prompt")
    corrupt_tokens: tuple[str, ...] = Field(default=(), description="tokens of the corrupt prompt")
    answer: tuple[str, ...] = Field(default=(), description="tokens of the right answer")
    counterfactual: tuple[str, ...] = Field(default=(), description="tokens of the other answer")


LIVE: Mapping[str, type[Payload]] = {"cells": TraceCell}
