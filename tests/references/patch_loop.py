"""Activation patching as it is defined: one full forward pass of the model for every patch. Slow, with nothing to go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site


@torch.no_grad()
def patched_logits(module: Any, clean: torch.Tensor, corrupt: torch.Tensor, jobs: Sequence[Sequence[Site]]) -> torch.Tensor:
    """Logits (jobs, pos, vocab) of the corrupt run with the clean run's values at each job's sites."""
    site_map = site_map_of(module)
    found = []
    for sites in jobs:
        seen = activations(site_map, clean, [site.whole for site in sites])
        edits = [Edit(site.whole, lambda value, site=site, seen=seen: _swap(site, value, seen[site.whole])) for site in sites]
        with edited(site_map, edits):
            found.append(module(corrupt).logits[0])
    return torch.stack(found)


def _swap(site: Site, value: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    positions = slice(None) if site.position is None else site.position
    heads = slice(None) if site.head is None else site.head
    if site.name == "attn_pattern":
        value[:, heads, positions] = clean[:, heads, positions]
    elif site.name in ("q", "k", "v", "z"):
        value[:, positions, heads] = clean[:, positions, heads]
    else:
        value[:, positions] = clean[:, positions]
    return value
