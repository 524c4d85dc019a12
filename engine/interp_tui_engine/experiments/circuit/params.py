"""What circuit may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...circuits.methods import Ablation, Method, Scope
from .. import _pairs

MANY_EDGES = 10_000
"""Edges to be tried one by one from which a run says beforehand that there is a quicker way."""


class Params(_pairs.PairParams):
    """Which behaviour, how it is taken apart, and how much a part must matter to stay."""

    method: Method = Field("acdc", description="cut part by part, or first leave out what gradients hold for nothing")
    level: Literal["node", "edge"] = Field("edge", description="a circuit of heads and MLPs, or of the edges between them")
    scope: Scope = Field("nodes", description="acdc looks for edges among the nodes it keeps first, or among all")
    ablation: Ablation = Field("interchange", description="what takes the place of what is cut")
    threshold: float = Field(0.02, gt=0, lt=1, description="share of the behaviour a part must carry to stay")
    steps: int = Field(5, ge=1, le=200, description="points along the way, for integrated gradients")
    most_edges: int = Field(1000, ge=1, description="edges with the strongest estimates to try exactly")
    resamples: int = Field(200, ge=10, description="bootstrap resamples of the pairs for stability")
    halves: bool = Field(True, description="find it again on each half of the pairs and measure it on the other: twice the work")
