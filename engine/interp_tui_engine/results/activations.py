"""Result of `activations`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, NumbersByName, Payload, ResultFile, Row


class StoredArray(Payload):
    """One array of the store."""

    name: str = Field(description="its path in the run folder")
    shape: tuple[int, ...] = Field(description="rows, positions, then what the site has")
    dtype: str = Field(description="precision it was rounded to")


class ActivationsResult(ResultFile):
    """What was stored."""

    arrays: tuple[StoredArray, ...] = Field(description="an array a site")
    rows: int | None = Field(description="rows of the data")
    tokens: int | None = Field(description="tokens in them")


class ActivationsHeadline(Headline):
    """How much was stored."""

    rows: int | None = Field(default=None, description="rows of the data")
    sites: int | None = Field(default=None, description="sites stored")


class ShownRow(Payload):
    """The tokens of one row."""

    row: int | None = Field(description="its number in the data")
    tokens: tuple[str, ...] = Field(description="its tokens")
    norms: Mapping[str, Row] = Field(description="by site, L2 norm at each token")


class ActivationsCell(Payload):
    """Series `cells`: at step 0 what is stored where, then each batch of rows that has been read."""

    sites: tuple[str, ...] = Field(default=(), description="the sites, in the first event")
    layers: int | None = Field(default=None, description="layers of the model")
    shapes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict, description="shape of each site's array")
    dtype: str = Field(default="", description="precision of the arrays")
    store: str = Field(default="", description="the store's name in the run folder")
    rms: Mapping[str, float | None] = Field(default_factory=dict, description="by site, root mean square over the batch")
    rows: int | None = Field(default=None, description="rows of the batch")
    shown: tuple[ShownRow, ...] = Field(default=(), description="rows of the batch with their tokens, of the first batches only")


LIVE: Mapping[str, type[Payload]] = {"cells": ActivationsCell, "rms": NumbersByName}
