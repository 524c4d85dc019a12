"""Result of `bif`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Payload, ResultFile
from .sampling import SAMPLING, SamplingHeadline


class InfluencePair(Payload):
    """Two sequences that move together, or against each other."""

    row_1: int | None = Field(description="row of the matrix")
    row_2: int | None = Field(description="the other row")
    value: float | None = Field(description="their influence: correlation, or covariance in nats²")
    std_error: float | None = Field(description="its standard error")
    effective_draws: float | None = Field(description="effective draws behind it")
    clear: bool | None = Field(description="whether it exceeds what exchanged chains reach")
    first_order: float | None = Field(description="the exact first order, from gradients at w₀")
    data_1: str = Field(description="the data of the first")
    data_2: str = Field(description="the data of the second")
    text_1: str = Field(description="the first text")
    text_2: str = Field(description="the second text")


class InfluenceFloor(Payload):
    """What pairs reach when chains are exchanged, so that nothing can be found."""

    standard_errors: float | None = Field(description="the floor, in standard errors")
    pairs: int | None = Field(description="pairs there are")
    clear_pairs: int | None = Field(description="pairs above the floor")


class BIFResult(ResultFile):
    """Which sequences influence which: the matrix is in Zarr, its summary here."""

    shape: tuple[int, ...] = Field(description="of the influences: sequences, or sequences and positions on both sides")
    method: str = Field(description="token or sequence")
    covariance: bool | None = Field(description="covariances, nats²; else correlations")
    observables: tuple[str, ...] = Field(description="the data, in the order of the matrix's rows")
    rows: tuple[int, ...] = Field(description="sequences of each data")
    between: Mapping[str, Mapping[str, float | None]] = Field(description="mean influence between sequences of two data")
    between_std_error: Mapping[str, Mapping[str, float | None]] = Field(description="its standard error")
    top_pairs: tuple[InfluencePair, ...] = Field(description="the strongest pairs, whichever the sign")
    no_error: str | None = Field(description="why there are no error bars; null where there are")
    effective_draws: float | None = Field(description="median effective draws of a pair")
    floor: InfluenceFloor | None = Field(description="the floor of pairs of sequences; null for one chain")
    token_floor: InfluenceFloor | None = Field(description="the floor of pairs of tokens")
    agreement: Mapping[str, float | None] = Field(description="correlations of two samplings, and with the first order")
    constant: tuple[tuple[int, ...], ...] = Field(description="[row, position] of losses that never vary, the first of them")
    constant_count: int | None = Field(description="how many of them there are")
    healthy_chains: tuple[int, ...] = Field(description="the chains that all is over")
    failed_chains: Mapping[str, str] = Field(description="the other chains, and why they failed")


class BIFHeadline(SamplingHeadline):
    """The strongest pair; while chains run, their estimate."""

    sequences: int | None = Field(default=None, description="sequences compared")
    strongest: str = Field(default="", description="'ROW with ROW'")
    influence_mean: float | None = Field(default=None, description="their influence")
    influence_std_error: float | None = Field(default=None, description="its standard error")
    clear: int | None = Field(default=None, description="pairs clear of the floor")


LIVE: Mapping[str, type[Payload]] = SAMPLING
