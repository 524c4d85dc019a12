"""A model as a graph: who writes to the residual stream, who reads it, and the edges between them (Elhage et al. 2021).

Senders are the embedding, every head and every MLP. Receivers are what reads the stream: the queries of every head, the keys and values of
every K/V head (as the groups they are, not expanded), every MLP, and the logits. An edge goes from each sender to each receiver that
comes after it. Sets of edges are boolean masks (receivers, senders).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import UserError
from ..models.tensor_parallel import whole
from ..sites.site import Site
from ..sites.site_map import SiteMap
from .nodes import all_nodes, node_name
from .prepared import Node

EMBED = Site("embed")
Mask = Bool[Tensor, "receivers senders"]


class Edge(NamedTuple):
    """From a sender's output to what a receiver reads: a Site of kind q, k, v or mlp_out, or None for the logits."""

    sender: Node
    receiver: Site | None

    @property
    def name(self) -> str:
        """Sender and receiver, with the input it goes to, joined by an arrow."""
        sender = "embed" if self.sender == EMBED else node_name(self.sender)
        if self.receiver is None:
            return f"{sender} → logits"
        if self.receiver.name == "mlp_out":
            return f"{sender} → {node_name(self.receiver)}"
        kind = "H" if self.receiver.name == "q" else "KV"
        return f"{sender} → L{self.receiver.layer}{kind}{self.receiver.head}.{self.receiver.name}"


@final
@dataclass(frozen=True)
class Graph:
    """Senders and receivers in the order of the forward pass, with where each stands in a mask."""

    site_map: SiteMap
    senders: tuple[Node, ...]
    receivers: tuple[Site | None, ...]
    sender_at: dict[Node, int] = field(repr=False)
    receiver_at: dict[Site | None, int] = field(repr=False)
    valid: Mask = field(repr=False)
    """Which pairs are edges: the sender has written before the receiver reads."""
    owned: Mask = field(repr=False)
    """Which nodes compute with what a receiver reads: one, or the heads that share a K/V head; none for the logits."""
    outputs: tuple[Float[Tensor, "heads head_dim d_model"], ...] = field(repr=False)
    """By layer, how a head's output is added to the residual stream."""

    @property
    def layer_senders(self) -> int:
        """Senders in a layer: its heads, then its MLP."""
        return self.site_map.heads("z") + 1

    @property
    def layer_readers(self) -> int:
        """Receivers in a layer that are projections of attention; the layer's MLP comes after them."""
        return self.site_map.heads("q") + 2 * self.site_map.heads("k")

    def senders_before(self, layer: int) -> int:
        """How many senders have written before a layer."""
        return 1 + layer * self.layer_senders

    def first_reader(self, layer: int) -> int:
        """Where the receivers of a layer begin; the logits' place for the layer after the last."""
        return layer * (self.layer_readers + 1)

    def edges(self, mask: Mask) -> list[Edge]:
        """The edges of a mask."""
        return [Edge(self.senders[s], self.receivers[r]) for r, s in (mask & self.valid).nonzero().tolist()]

    def mask(self, edges: Iterable[Edge]) -> Mask:
        """The mask of edges."""
        mask = torch.zeros_like(self.valid)
        for edge in edges:
            mask[self.receiver_at[edge.receiver], self.sender_at[edge.sender]] = True
        return mask

    def between(self, nodes: Sequence[Node]) -> Mask:
        """The edges among the embedding, these nodes and the logits."""
        senders = torch.zeros(len(self.senders), dtype=torch.bool)
        receivers = torch.zeros(len(self.receivers), dtype=torch.bool)
        senders[[0, *(self.sender_at[node] for node in nodes)]] = True
        receivers[[len(self.receivers) - 1, *(self.receiver_at[site] for node in nodes for site in _inputs(self.site_map, node))]] = True
        return self.valid & receivers[:, None] & senders


def can_be_split(site_map: SiteMap) -> bool:
    """Whether a head's share of the residual stream is its own: not where a norm stands between heads and stream."""
    return all(block.ports["attn_out"].module is block.ports["z"].module for block in site_map.blocks)


def graph_of(site_map: SiteMap) -> Graph:
    """The graph of a model. Raises UserError where heads have no share of the stream of their own, or no queries, keys and values."""
    if not can_be_split(site_map):
        raise UserError(
            f"{site_map.family} norms what attention adds, so single heads have no share of the residual stream of their own",
            "what one tells another cannot be told apart: use level = 'node', or kind = 'activation_patch'",
        )
    for layer in range(site_map.num_layers):
        for name in ("q", "k", "v", "z", "mlp_out"):
            site_map.check(Site(name, layer))
    senders = (EMBED, *all_nodes(site_map))
    receivers: list[Site | None] = []
    for layer in range(site_map.num_layers):
        receivers += [Site(name, layer, head) for name in ("q", "k", "v") for head in range(site_map.heads(name))]
        receivers.append(Site("mlp_out", layer))
    receivers.append(None)
    valid = torch.zeros(len(receivers), len(senders), dtype=torch.bool)
    per_layer = site_map.heads("z") + 1
    for row, receiver in enumerate(receivers):
        layer = site_map.num_layers if receiver is None else receiver.layer or 0
        same = receiver is not None and receiver.name == "mlp_out" and not site_map.blocks[layer].parallel
        valid[row, : 1 + layer * per_layer + (per_layer - 1 if same else 0)] = True
    at, heard = {node: i for i, node in enumerate(senders)}, {site: i for i, site in enumerate(receivers)}
    owned = torch.zeros_like(valid)
    for node in senders[1:]:
        owned[[heard[site] for site in _inputs(site_map, node)], at[node]] = True
    outputs = tuple(_output(site_map, layer) for layer in range(site_map.num_layers))
    return Graph(site_map, senders, tuple(receivers), at, heard, valid, owned, outputs)


@torch.no_grad()
def _output(site_map: SiteMap, layer: int) -> Float[Tensor, "heads head_dim d_model"]:
    """The matrix by which a layer's output projection multiplies heads from the right; a view of its weights where it is a plain one."""
    module = site_map.port(Site("z", layer)).module
    weight: Tensor = next(module.parameters())
    if type(module) is nn.Linear:
        weight = whole(module.weight).T
    else:
        width = math.prod(weight.shape) // site_map.d_model
        zero = weight.new_zeros(1, width)
        weight = module(torch.eye(width, dtype=weight.dtype, device=weight.device)) - module(zero)
    return weight.reshape(site_map.heads("z"), -1, site_map.d_model)


def _inputs(site_map: SiteMap, node: Node) -> list[Site]:
    """What a node reads through: one receiver of an MLP, three of a head."""
    if node.name == "mlp_out":
        return [node]
    group = site_map.heads("z") // site_map.heads("v")
    return [Site("q", node.layer, node.head), *(Site(name, node.layer, (node.head or 0) // group) for name in ("k", "v"))]
