"""What susceptibilities may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .. import _sampling


class Params(_sampling.ObservingParams):
    """Which parts to sample, and how. Each is a sampling of its own with these settings, besides one of the whole model."""

    restrictions: list[str | list[str]] = Field(
        min_length=1,
        description="parts: 'l0h1', 'l0 mlp', 'embed', a parameter's name, a list of these; 'heads' or 'layers' for all of them",
    )
    include_sampling_data: bool = Field(False, description="respond to the sampling data's own tokens too")
    rank_by: Literal["covariance", "first_order", "susceptibility"] = Field(
        "covariance",
        description="what orders tokens: the sampled covariance, its exact first order from gradients at w₀, or χ with its shift",
    )
