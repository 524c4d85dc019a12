"""Path patching (Wang et al. 2022; Goldowsky-Dill et al. 2023): what one node tells another, all other paths held.

The sender's contribution to the residual stream is replaced by that of the corrupt run in what the receiver reads, and nowhere else: the
receiver's queries, keys, values or MLP input are computed from the changed stream and put into the clean run, which is then run to its end.
K/V heads are patched as the groups they are, not expanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..sites.anatomy import Anatomy
from ..sites.fork import Patch
from ..sites.hooks import Edit, capture, edited
from ..sites.site import Site
from .nodes import Behaviour, Node, Prepared, node_name, output_of

EMBED = Site("embed")
ROWS = 64
"""Patched runs in one batch."""


class Edge(NamedTuple):
    """From a sender's output to what a receiver reads: a Site of kind q, k, v or mlp_out, or None for the logits."""

    sender: Node
    receiver: Site | None

    @property
    def name(self) -> str:
        sender = "embed" if self.sender == EMBED else node_name(self.sender)
        if self.receiver is None:
            return f"{sender} → logits"
        if self.receiver.name == "mlp_out":
            return f"{sender} → {node_name(self.receiver)}"
        kind = "H" if self.receiver.name == "q" else "KV"
        return f"{sender} → L{self.receiver.layer}{kind}{self.receiver.head}.{self.receiver.name}"


def can_be_split(anatomy: Anatomy) -> bool:
    """Whether a head's share of the residual stream is its own: not where a norm stands between heads and stream."""
    return all(block.ports["attn_out"].module is block.ports["z"].module for block in anatomy.blocks)


def edges_between(anatomy: Anatomy, nodes: Sequence[Node]) -> list[Edge]:
    """Every edge from the embedding or a node to a later node's inputs, or to the logits."""
    group = anatomy.heads("z") // anatomy.heads("v")
    found: list[Edge] = []
    for receiver in nodes:
        senders = [EMBED, *(node for node in nodes if _before(anatomy, node, receiver))]
        inputs = [receiver] if receiver.name == "mlp_out" else [
            Site("q", receiver.layer, receiver.head),
            *(Site(name, receiver.layer, (receiver.head or 0) // group) for name in ("k", "v")),
        ]  # fmt: skip
        found += [Edge(sender, site) for sender in senders for site in inputs]
    found += [Edge(sender, None) for sender in [EMBED, *nodes]]
    return list(dict.fromkeys(found))


@torch.no_grad()
def edge_effects(behaviour: Behaviour, edges: Sequence[Edge]) -> dict[Edge, float]:
    """The loss of the metric when each edge alone carries what it carries in the corrupt run, averaged over examples."""
    totals = dict.fromkeys(edges, 0.0)
    for run in behaviour.runs:
        last = run.fork.length - 1
        clean = float(run.score(run.fork.logits([last]))[0])
        shifts = {sender: _told(run, sender) for sender in {edge.sender for edge in edges}}
        direct = [edge for edge in edges if edge.receiver is None]
        for edge in direct:
            logits = run.fork.anatomy.unembed(run.fork.resid_pre[-1][0, [last]] + shifts[edge.sender][[last]])
            totals[edge] += (clean - float(run.score(logits)[0])) / len(behaviour.runs)
        inner = [edge for edge in edges if edge.receiver is not None]
        for start in range(0, len(inner), ROWS):
            rows = inner[start : start + ROWS]
            jobs = [(Patch(edge.receiver, _read(run, edge.receiver, shifts[edge.sender])),) for edge in rows if edge.receiver is not None]
            scores = run.score(run.fork.run(jobs, [last], first=run.first))[:, 0].tolist()
            for edge, score in zip(rows, scores, strict=True):
                totals[edge] += (clean - score) / len(behaviour.runs)
    return totals


def _before(anatomy: Anatomy, sender: Node, receiver: Node) -> bool:
    assert sender.layer is not None and receiver.layer is not None
    if sender.layer != receiver.layer:
        return sender.layer < receiver.layer
    return sender.name == "z" and receiver.name == "mlp_out" and not anatomy.blocks[sender.layer].parallel


def _told(run: Prepared, sender: Node) -> Tensor:
    """Corrupt less clean contribution of the sender to the residual stream: (pos, d_model)."""
    anatomy = run.fork.anatomy
    if sender == EMBED:
        return (run.corrupt_stream - run.fork.resid_pre[0])[0]
    change = output_of(run.corrupt, sender) - output_of(run.clean, sender)
    if sender.head is None:
        return change * anatomy.residual_scale
    whole = torch.zeros_like(run.clean[sender.whole])
    whole[0, :, sender.head] = change
    out = anatomy.port(sender.whole).module
    told: Tensor = out(whole.flatten(2)) - out(torch.zeros_like(whole).flatten(2))
    return told[0] * anatomy.residual_scale


def _read(run: Prepared, receiver: Site, shift: Tensor) -> Tensor:
    """What the receiver reads when the stream it reads is shifted: its whole q, k, v or MLP output, (pos, ...)."""
    anatomy, layer = run.fork.anatomy, receiver.layer
    assert layer is not None
    stream = run.fork.resid_pre[layer]
    middle = receiver.name == "mlp_out" and not anatomy.blocks[layer].parallel
    edits = [Edit(Site("resid_mid", layer), lambda value: value + shift)] if middle else []
    with capture(anatomy, [receiver]) as seen, edited(anatomy, edits):
        run.fork.block(layer, stream if middle else stream + shift)
    return seen[receiver][0]
