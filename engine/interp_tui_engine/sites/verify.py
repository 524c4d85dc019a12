"""Whether a model's sites are what they are called: they must add up on the model itself before anything is said about it.

resid_pre + attn_out (+ mlp_out) = the next residual stream, and unembedding the last one gives the model's own logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .dissect import site_map_of
from .hooks import capture
from .site import Site
from .site_map import SiteMap

TOKENS = 3
ROUNDINGS = 64
"""How many unit roundoffs of the largest term a sum of three may be off by: each term was rounded once, and once more in the sum."""


def checked_site_map(model: Any) -> SiteMap:
    """The site map of a model, its sums checked on one short forward pass. Raises UserError for an architecture where they fail."""
    site_map = site_map_of(model)
    module = model if isinstance(model, torch.nn.Module) else model.module
    ids = torch.arange(1, TOKENS + 1, device=next(module.parameters()).device)[None]
    last = site_map.num_layers - 1
    sites = [
        Site(name, layer) for layer in {0, last} for name in ("resid_pre", "attn_out", "mlp_out", "resid_post") if _has(site_map, name)
    ]
    with torch.no_grad(), capture(site_map, sites) as values:
        logits = module(ids, use_cache=False).logits
    for layer in {0, last}:
        if _has(site_map, "mlp_out"):
            terms = [values[Site(name, layer)] for name in ("resid_pre", "attn_out", "mlp_out")]
            scale = site_map.residual_scale
            error = (terms[0] + scale * terms[1] + scale * terms[2] - values[Site("resid_post", layer)]).abs().max()
            _hold(site_map, error, max(t.abs().max() for t in terms), f"the parts of block {layer} do not add up to what leaves it")
    error = (site_map.unembed(values[Site("resid_post", last)]) - logits).abs().max()
    _hold(site_map, error, logits.abs().max(), "unembedding the last residual stream does not give the model's logits")
    return site_map


def _has(site_map: SiteMap, name: str) -> bool:
    return name in site_map.blocks[0].ports


def _hold(site_map: SiteMap, error: Tensor, size: Tensor, message: str) -> None:
    if not bool(error <= ROUNDINGS * torch.finfo(error.dtype).eps * size):
        raise UserError(
            f"{site_map.family}: {message} (off by {float(error):.2g})",
            "its blocks are built otherwise than any known here; open an issue",
        )
