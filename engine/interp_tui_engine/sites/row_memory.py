"""How many rows of tokens pass a model together in the memory that its device has free."""

from __future__ import annotations

import torch

from ..models.halving import FittingRows
from .site_map import SiteMap

STREAMS = 16
"""Arrays of the residual stream's size that a block holds at a time, roughly: its input and output, norms, projections, the MLP inside."""


def bytes_of_row(site_map: SiteMap, tokens: int, logits: int = 1) -> int:
    """What a row of so many tokens holds at most in a forward pass, of which the last positions are unembedded; roughly, in float32."""
    return 4 * (STREAMS * tokens * site_map.d_model + 2 * site_map.num_heads * tokens * tokens + logits * vocabulary(site_map))


def fitting_rows(site_map: SiteMap, tokens: int, most: int, logits: int = 1) -> FittingRows:
    """How many rows of `tokens` tokens pass together: at most `most`."""
    return FittingRows(device_of(site_map), bytes_of_row(site_map, tokens, logits), most)


def fitting_logits(site_map: SiteMap, most: int) -> FittingRows:
    """How many positions are unembedded together, with some copies of their logits: at most `most`."""
    return FittingRows(device_of(site_map), STREAMS * vocabulary(site_map), most)


def vocabulary(site_map: SiteMap) -> int:
    """How many logits a position has."""
    return max(1, sum(parameter.numel() for parameter in site_map.head.parameters()) // site_map.d_model)


def device_of(site_map: SiteMap) -> torch.device:
    """Where the model is."""
    return next(site_map.embed.parameters()).device
