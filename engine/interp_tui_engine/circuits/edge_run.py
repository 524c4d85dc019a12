"""One example run with any edges cut: every receiver reads its own version of the residual stream.

A cut edge carries what it carries in the ablated run: the receiver reads the stream with that sender's output taken out and the ablated one
put in; what comes over other edges follows from the run itself (Conmy et al. 2023, arXiv 2304.14997):

    input_r = stream + Σ_{s cut for r} (instead_s − output_s)

A layer's queries, keys and values are read on as many streams as differ, stopping before attention; then the block runs once, with them in
place. Blocks before the first cut receiver are those of a base run, blocks that nobody listens to are not run at all, and
positions before the first at which the two prompts differ are never computed.

Legend: B rows, P positions, R receivers, S senders, D d_model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..sites.hooks import Edit, capture, eager_attention, edited
from ..sites.site import Site
from .cut import Cut, Shifts
from .graph import EMBED, Graph
from .nodes import Node, Prepared, output_of

QKV = ("q", "k", "v")


class Base(NamedTuple):
    """A run that others branch off: the streams that enter each block and leave the last, and instead − output of every sender."""

    streams: tuple[Float[Tensor, "pos d_model"], ...]
    away: Float[Tensor, "senders pos d_model"]


@final
class EdgeRun:
    """One example's clean run, made ready for cutting edges; `instead` gives what an ablated sender says: (pos, ...)."""

    def __init__(self, graph: Graph, run: Prepared, instead: Callable[[Prepared, Node], Tensor], first: int) -> None:
        self.graph, self.run, self.anatomy, self.instead = graph, run, graph.anatomy, instead
        self.start = first if run.fork.can_skip else 0
        self.told_instead = torch.stack([self._told(instead(run, node), node) for node in graph.senders])
        clean = torch.stack([self._told(self._own(node), node) for node in graph.senders])
        streams = tuple(stream[0, self.start :] for stream in run.fork.resid_pre)
        self.clean = Base(streams, self.told_instead - clean)
        # what a layer adds to the stream when all of it is ablated: its constants, such as biases, included
        ends = [graph.senders_before(layer) for layer in range(self.anatomy.num_layers + 1)]
        self.ablated_layer = [
            streams[i + 1] - streams[i] + self.clean.away[ends[i] : ends[i + 1]].sum(0) for i in range(self.anatomy.num_layers)
        ]

    @property
    def positions(self) -> int:
        return self.run.fork.length - self.start

    @torch.no_grad()
    def score(self, cut: Bool[Tensor, "rows receivers senders"], base: Base | None = None, entry: int = 0) -> Float[Tensor, " rows"]:
        """The metric with these edges cut; `base` is a run that does the same as every row before layer `entry`."""
        base = base or self.clean
        shifts = Cut(self.graph, cut, base.away, self.told_instead, entry, self.head_shares)
        hidden = self._walk(base.streams[entry].expand(len(cut), -1, -1), entry, shifts)[-1]
        return self.run.score(self.anatomy.unembed((hidden + shifts.logits().to(hidden))[:, -1])).float().cpu()

    @torch.no_grad()
    def base(self, cut: Bool[Tensor, "receivers senders"]) -> Base:
        """The run with these edges cut, to branch off."""
        shifts = Cut(self.graph, cut[None], self.clean.away, self.told_instead, 0, self.head_shares)
        streams = self._walk(self.clean.streams[0][None], 0, shifts)
        return Base(tuple(stream[0] for stream in streams), shifts.away[0])

    def _walk(self, hidden: Tensor, entry: int, shifts: Cut) -> list[Tensor]:
        streams = [hidden]
        with eager_attention(self.anatomy):
            for layer in range(entry, self.anatomy.num_layers):
                silent = shifts.silent(layer)
                streams.append(streams[-1] + self.ablated_layer[layer] if silent else self.block(layer, streams[-1], shifts))
        return streams

    def block(self, layer: int, hidden: Tensor, shifts: Shifts, edits: Sequence[Edit] = ()) -> Tensor:
        """One block, each of its receivers on its own stream."""
        fork, start, parallel = self.run.fork, self.start, self.anatomy.blocks[layer].parallel
        changes: list[Edit] = []
        if (found := shifts.attention(layer)) is not None:
            rows, slots, by = found
            read = fork.read(layer, hidden[rows] + by.to(hidden), QKV, start)
            low = 0
            for name in QKV:
                high = low + self.anatomy.heads(name)
                mine = ((slots >= low) & (slots < high)).nonzero()[:, 0]
                if len(mine):
                    changes.append(Edit(Site(name, layer), _putting(rows[mine], slots[mine] - low, mine, read[name])))
                low = high
        added: list[Tensor] = []
        if parallel and (shift := shifts.mlp(layer, None)) is not None:
            said = fork.read(layer, hidden + shift.to(hidden), ["mlp_out"], start)["mlp_out"]
            changes.append(Edit(Site("mlp_out", layer), lambda _: said))
        z, mlp, middle = Site("z", layer), Site("mlp_out", layer), Site("resid_mid", layer)

        def shifted(value: Tensor) -> Tensor:
            shift = shifts.mlp(layer, seen[z])
            if shift is None:
                return value
            added.append(shift.to(value))
            return value + added[-1]

        if not parallel:
            changes.append(Edit(middle, shifted))
        with edited(self.anatomy, [*edits, *changes]), capture(self.anatomy, [z, mlp]) as seen:
            hidden = fork.block(layer, hidden, start)
        shifts.wrote(layer, seen[z], seen[mlp])
        return hidden - added[0] if added else hidden  # the MLP alone was to read the shift

    def head_shares(self, layer: int, z: Float[Tensor, "*rows pos heads head_dim"]) -> Float[Tensor, "heads *rows pos d_model"]:
        """What each head adds to the residual stream."""
        return torch.einsum("...phd,hdm->h...pm", z, self.graph.outputs[layer]) * self.anatomy.residual_scale

    def _told(self, value: Tensor, node: Node) -> Tensor:
        """What a sender adds to the stream when it says `value` (pos, ...): (P, D), without the constants that it always adds."""
        value = value[self.start :]
        if node == EMBED:
            return value
        if node.head is None:
            return value * self.anatomy.residual_scale
        assert node.layer is not None
        return value @ self.graph.outputs[node.layer][node.head] * self.anatomy.residual_scale

    def _own(self, node: Node) -> Tensor:
        return self.run.fork.resid_pre[0][0] if node == EMBED else output_of(self.run.clean, node)


def _putting(rows: Tensor, heads: Tensor, chosen: Tensor, read: Tensor) -> Callable[[Tensor], Tensor]:
    """Puts, for some rows and heads, what was read on a stream of their own."""

    def put(value: Tensor) -> Tensor:
        value = value.clone()
        value[rows, :, heads] = read[chosen, :, heads]
        return value

    return put
