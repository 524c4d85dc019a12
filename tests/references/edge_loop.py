"""Cut edges as they are defined: receiver after receiver, each with full forward passes of the model. Slow, with nothing to go wrong."""

from __future__ import annotations

from typing import Any

import torch

from interp_tui_engine.circuits.graph import EMBED, Graph
from interp_tui_engine.circuits.prepared import Node
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site


@torch.no_grad()
def cut_logits(module: Any, graph: Graph, ids: torch.Tensor, instead: dict[Node, torch.Tensor], cut: torch.Tensor) -> torch.Tensor:
    """Last logits (vocab) of a run in which each receiver's cut edges carry `instead`: (pos, ...) a sender, as the sender says it."""
    site_map = graph.site_map
    put: dict[Site, torch.Tensor] = {}  # what receivers computed from their own streams, by head

    def edits() -> list[Edit]:
        return [Edit(site.whole, lambda value, site=site, new=new: _with(site, value, new)) for site, new in put.items()]

    def shift(row: int) -> torch.Tensor:
        total = torch.zeros(ids.shape[1], site_map.d_model)
        for sender in cut[row].nonzero()[:, 0].tolist():
            node = graph.senders[sender]
            site = Site("resid_pre", 0) if node == EMBED else node
            present = activations(site_map, ids, [site], edits())[site][0]
            total += _written(site_map, node, instead[node]) - _written(site_map, node, present)
        return total

    for row, receiver in enumerate(graph.receivers):
        by = shift(row)
        if receiver is None:
            last = Site("resid_post", site_map.num_layers - 1)
            return site_map.unembed(activations(site_map, ids, [last], edits())[last][0, -1] + by[-1])
        middle = receiver.name == "mlp_out" and not site_map.blocks[receiver.layer].parallel
        stream = Site("resid_mid" if middle else "resid_pre", receiver.layer)
        shifted = [*edits(), Edit(stream, lambda value, by=by: value + by)]
        with edited(site_map, []):
            put[receiver] = activations(site_map, ids, [receiver], shifted)[receiver][0]
    raise AssertionError("the logits are the last receiver")


def _with(site: Site, value: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    if site.head is None:
        value[0] = new
    else:
        value[0, :, site.head] = new
    return value


def _written(site_map: Any, node: Node, value: torch.Tensor) -> torch.Tensor:
    if node == EMBED:
        return value
    if node.head is None:
        return value * site_map.residual_scale
    out = site_map.port(node.whole).module
    whole = torch.zeros(value.shape[0], site_map.heads("z"), value.shape[-1])
    whole[:, node.head] = value
    return (out(whole.flatten(1)) - out(torch.zeros_like(whole).flatten(1))) * site_map.residual_scale
