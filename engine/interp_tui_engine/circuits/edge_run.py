"""Examples run with any edges cut: every receiver reads its own version of the residual stream.

A cut edge carries what it carries in the ablated run: the receiver reads the stream with that sender's output taken out and the ablated one
put in; what comes over other edges follows from the run itself (Conmy et al. 2023, arXiv 2304.14997):

    input_r = stream + Σ_{s cut for r} (instead_s − output_s)

A layer's queries, keys and values are read on as many streams as differ, stopping before attention; then the block runs once, with them in
place. Blocks before the first cut receiver are those of a base run, blocks that nobody listens to are not run at all, and
positions before the first at which the two prompts differ are never computed. Examples of one length run as the rows of one batch: a block
reads its weights once for all.

Legend: B rows, E examples, P positions, R receivers, S senders, D d_model. What passes a block is (B·E, P, D).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..models.halving import FittingRows
from ..sites.branched_run import together
from ..sites.hooks import Edit, capture, eager_attention, edited
from ..sites.row_memory import bytes_of_row, device_of
from ..sites.site import Site
from .cut import Cut, Shifts
from .graph import EMBED, Graph
from .prepared import Node, Prepared, output_of

QKV = ("q", "k", "v")


class Base(NamedTuple):
    """A run that others branch off: the streams that enter each block and leave the last, and instead − output of every sender."""

    streams: tuple[Float[Tensor, "examples pos d_model"], ...]
    away: Float[Tensor, "senders examples pos d_model"]


@final
class EdgeRun:
    """Clean runs that can stand together, made ready for cutting edges; `instead` gives what an ablated sender adds instead: (pos, ...).

    first: the position before which prompts do not differ in any of them.
    """

    def __init__(self, graph: Graph, runs: Sequence[Prepared], instead: Callable[[Prepared, Node], Tensor], first: int) -> None:
        self.graph, self.runs, self.site_map, self.instead = graph, tuple(runs), graph.site_map, instead
        fork = runs[0].fork if len(runs) == 1 else together([run.fork for run in runs])
        assert fork is not None, "runs that cannot stand together are given one by one"
        self.fork = fork
        self.start = first if fork.can_skip else 0
        held = len(self.runs) * bytes_of_row(self.site_map, fork.length, logits=0)
        self._readers = FittingRows(device_of(self.site_map), held, sys.maxsize)
        self.written_instead = self._written_by(instead)
        clean = self._written_by(_own)
        streams = tuple(stream[:, self.start :] for stream in fork.resid_pre)
        self.clean = Base(streams, self.written_instead - clean)
        # what a layer adds to the stream when all of it is ablated: its constants, such as biases, included
        ends = [graph.senders_before(layer) for layer in range(self.site_map.num_layers + 1)]
        self.ablated_layer = [
            streams[i + 1] - streams[i] + self.clean.away[ends[i] : ends[i + 1]].sum(0) for i in range(self.site_map.num_layers)
        ]

    @torch.no_grad()
    def score(
        self, cut: Bool[Tensor, "rows receivers senders"], base: Base | None = None, entry: int = 0
    ) -> Float[Tensor, "rows examples"]:
        """The metric with these edges cut; `base` is a run that does the same as every row before layer `entry`."""
        base = base or self.clean
        shifts = Cut(self.graph, cut, base.away, self.written_instead, entry, self.head_shares)
        hidden = self._walk(base.streams[entry].repeat(len(cut), 1, 1), entry, shifts)[-1]
        logits = self.site_map.unembed((hidden + shifts.logits().flatten(0, 1).to(hidden))[:, -1])
        logits = logits.view(len(cut), len(self.runs), -1)
        return torch.stack([run.score(logits[:, index]) for index, run in enumerate(self.runs)], dim=1).float().cpu()

    @torch.no_grad()
    def base(self, cut: Bool[Tensor, "receivers senders"]) -> Base:
        """The run with these edges cut, to branch off."""
        shifts = Cut(self.graph, cut[None], self.clean.away, self.written_instead, 0, self.head_shares)
        return Base(tuple(self._walk(self.clean.streams[0], 0, shifts)), shifts.away[0])

    def _walk(self, hidden: Tensor, entry: int, shifts: Cut) -> list[Tensor]:
        streams = [hidden]
        with eager_attention(self.site_map):
            for layer in range(entry, self.site_map.num_layers):
                silent = shifts.silent(layer)
                streams.append(self._ablated(layer, streams[-1]) if silent else self.block(layer, streams[-1], shifts))
        return streams

    def _ablated(self, layer: int, hidden: Tensor) -> Tensor:
        added = self.ablated_layer[layer]
        return (hidden.view(-1, *added.shape) + added).flatten(0, 1)

    def block(self, layer: int, hidden: Tensor, shifts: Shifts, edits: Sequence[Edit] = ()) -> Tensor:
        """One block, each of its receivers on its own stream. hidden: (B·E, P, D)."""
        fork, start, parallel = self.fork, self.start, self.site_map.blocks[layer].parallel
        changes: list[Edit] = []
        if (own_streams := shifts.attention(layer)) is not None:
            each = torch.arange(len(self.runs))
            rows = (own_streams[0][:, None] * len(each) + each).flatten()
            slots = own_streams[1].repeat_interleave(len(each))
            own_rows = hidden[rows.to(hidden.device, non_blocking=True)]
            read = self._read(layer, own_rows + own_streams[2].flatten(0, 1).to(hidden))
            low = 0
            for name in QKV:
                high = low + self.site_map.heads(name)
                mine = ((slots >= low) & (slots < high)).nonzero()[:, 0]  # on the host, which must know how many there are
                if len(mine):
                    where = [places.to(hidden.device, non_blocking=True) for places in (rows[mine], slots[mine] - low, mine)]
                    changes.append(Edit(Site(name, layer), _putting(where[0], where[1], where[2], read[name])))
                low = high
        added: list[Tensor] = []
        if parallel and (shift := shifts.mlp(layer, None)) is not None:
            mlp_out = fork.read(layer, hidden + shift.flatten(0, 1).to(hidden), ["mlp_out"], start)["mlp_out"]
            changes.append(Edit(Site("mlp_out", layer), lambda _: mlp_out))
        z, mlp, middle = Site("z", layer), Site("mlp_out", layer), Site("resid_mid", layer)

        def shifted(value: Tensor) -> Tensor:
            shift = shifts.mlp(layer, seen[z])
            if shift is None:
                return value
            added.append(shift.flatten(0, 1).to(value))
            return value + added[-1]

        if not parallel:
            changes.append(Edit(middle, shifted))
        with edited(self.site_map, [*edits, *changes]), capture(self.site_map, [z, mlp]) as seen:
            hidden = fork.block(layer, hidden, start)
        shifts.wrote(layer, seen[z], seen[mlp])
        return hidden - added[0] if added else hidden  # the MLP alone was to read the shift

    def _read(self, layer: int, streams: Float[Tensor, "rows_examples pos d_model"]) -> dict[str, Tensor]:
        """The projections of receivers that each read a stream of their own, so many at a time as fit."""
        each = len(self.runs)

        def of_receivers(some: range) -> dict[str, Tensor]:
            return self.fork.read(layer, streams[some.start * each : some.stop * each], QKV, self.start)

        parts = [read for _, read in self._readers.each(range(len(streams) // each), of_receivers)]
        return parts[0] if len(parts) == 1 else {name: torch.cat([read[name] for read in parts]) for name in QKV}

    def head_shares(self, layer: int, z: Float[Tensor, "*rows pos heads head_dim"]) -> Float[Tensor, "heads *rows pos d_model"]:
        """What each head adds to the residual stream."""
        return torch.einsum("...phd,hdm->h...pm", z, self.graph.outputs[layer]) * self.site_map.residual_scale

    def _written(self, value: Tensor, node: Node) -> Tensor:
        """What a sender adds to the stream when its value is `value` (pos, ...): (P, D), without the constants that it always adds."""
        value = value[self.start :]
        if node == EMBED:
            return value
        if node.head is None:
            return value * self.site_map.residual_scale
        assert node.layer is not None
        return value @ self.graph.outputs[node.layer][node.head] * self.site_map.residual_scale

    def _written_by(self, value_of: Callable[[Prepared, Node], Tensor]) -> Float[Tensor, "senders examples pos d_model"]:
        return torch.stack([torch.stack([self._written(value_of(run, node), node) for run in self.runs]) for node in self.graph.senders])


def _own(run: Prepared, node: Node) -> Tensor:
    return run.fork.resid_pre[0][0] if node == EMBED else output_of(run.clean, node)


def _putting(rows: Tensor, heads: Tensor, chosen: Tensor, read: Tensor) -> Callable[[Tensor], Tensor]:
    """Puts, for some rows and heads, what was read on a stream of their own."""

    def put(value: Tensor) -> Tensor:
        value = value.clone()
        value[rows, :, heads] = read[chosen, :, heads]
        return value

    return put
