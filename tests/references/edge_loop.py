"""Cut edges as they are defined: receiver after receiver, each with full forward passes of the model. Slow, with nothing to go wrong."""

from __future__ import annotations

from typing import Any

import torch

from interp_tui_engine.circuits.graph import EMBED, Graph
from interp_tui_engine.circuits.nodes import Node
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site


@torch.no_grad()
def cut_logits(module: Any, graph: Graph, ids: torch.Tensor, instead: dict[Node, torch.Tensor], cut: torch.Tensor) -> torch.Tensor:
    """Last logits (vocab) of a run in which each receiver's cut edges carry `instead`: (pos, ...) a sender, as the sender says it."""
    anatomy = graph.anatomy
    put: dict[Site, torch.Tensor] = {}  # what receivers computed from their own streams, by head

    def edits() -> list[Edit]:
        return [Edit(site.whole, lambda value, site=site, new=new: _with(site, value, new)) for site, new in put.items()]

    def shift(row: int) -> torch.Tensor:
        total = torch.zeros(ids.shape[1], anatomy.d_model)
        for sender in cut[row].nonzero()[:, 0].tolist():
            node = graph.senders[sender]
            site = Site("resid_pre", 0) if node == EMBED else node
            present = activations(anatomy, ids, [site], edits())[site][0]
            total += _written(anatomy, node, instead[node]) - _written(anatomy, node, present)
        return total

    for row, receiver in enumerate(graph.receivers):
        by = shift(row)
        if receiver is None:
            last = Site("resid_post", anatomy.num_layers - 1)
            return anatomy.unembed(activations(anatomy, ids, [last], edits())[last][0, -1] + by[-1])
        middle = receiver.name == "mlp_out" and not anatomy.blocks[receiver.layer].parallel
        stream = Site("resid_mid" if middle else "resid_pre", receiver.layer)
        shifted = [*edits(), Edit(stream, lambda value, by=by: value + by)]
        with edited(anatomy, []):
            put[receiver] = activations(anatomy, ids, [receiver], shifted)[receiver][0]
    raise AssertionError("the logits are the last receiver")


def _with(site: Site, value: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    value = value.clone()
    if site.head is None:
        value[0] = new
    else:
        value[0, :, site.head] = new
    return value


def _written(anatomy: Any, node: Node, value: torch.Tensor) -> torch.Tensor:
    if node == EMBED:
        return value
    if node.head is None:
        return value * anatomy.residual_scale
    out = anatomy.port(node.whole).module
    whole = torch.zeros(value.shape[0], anatomy.heads("z"), value.shape[-1])
    whole[:, node.head] = value
    return (out(whole.flatten(1)) - out(torch.zeros_like(whole).flatten(1))) * anatomy.residual_scale
