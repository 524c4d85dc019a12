"""Result of `attention`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Grid, Headline, Payload, ResultFile


class NamedHead(Payload):
    """A head that does something known, with its scores from 0 to 1."""

    head: str = Field(description="L1H0: layer and head")
    name: str = Field(description="what it is: induction, previous token, …")
    previous_token: float | None = Field(description="attention to the token before")
    duplicate_token: float | None = Field(description="attention to an earlier one of the same token")
    induction: float | None = Field(description="attention to what followed that one")
    copying: float | None = Field(description="how far it raises the logit of what it attends to")


class AttentionResult(ResultFile):
    """Attention patterns, and what heads are for."""

    tokens: tuple[str, ...] = Field(description="tokens of the prompt")
    layers: tuple[int, ...] = Field(description="layers whose patterns are stored")
    heads: int | None = Field(description="heads a layer")
    arrays: tuple[str, ...] = Field(description="where the patterns are, in the run folder")
    scores: Mapping[str, Grid] = Field(default_factory=dict, description="by score: [layer][head], from 0 to 1")
    named_heads: tuple[NamedHead, ...] = Field(default=(), description="heads with a high score")
    drawn: tuple[str, ...] = Field(default=(), description="heads whose pattern is a figure")


class AttentionHeadline(Headline):
    """How many heads are named."""

    heads: int | None = Field(default=None, description="heads of the model")
    named: int | None = Field(default=None, description="heads with a name")


class AttentionCell(Payload):
    """Series `cells`: the patterns of one layer; at the end the scores of all heads."""

    layer: int | None = Field(default=None, description="the layer")
    heads: int | None = Field(default=None, description="heads a layer")
    array: str = Field(default="", description="the store's name in the run folder")
    pattern: tuple[Grid, ...] = Field(default=(), description="[head][query][key up to the query]; left out where it is large")
    tokens: tuple[str, ...] = Field(default=(), description="tokens of the prompt, in the first event")
    layers: tuple[int, ...] = Field(default=(), description="layers that will be read, in the first event")
    scores: Mapping[str, Grid] = Field(default_factory=dict, description="by score: [layer][head], in the last event")
    named: tuple[NamedHead, ...] = Field(default=(), description="heads with a high score, in the last event")


LIVE: Mapping[str, type[Payload]] = {"cells": AttentionCell}
