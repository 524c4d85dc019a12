"""What bif may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .. import _sampling


class Params(_sampling.SamplingParams):
    """How to sample, and what to compare."""

    method: Literal["token", "sequence"] = Field("sequence", description="between tokens of every pair of sequences, or whole sequences")
    average: bool = Field(False, description="method token: keep the mean over pairs of tokens only")
    reduce: Literal["stack", "mean"] = Field("stack", description="draws of all chains in a row, or of the chains' mean")
    covariance: bool = Field(False, description="covariance in nats², in place of correlation")
    first_order: bool = Field(True, description="take the exact first order too: cosines of the texts' gradients, one backward pass a text")
