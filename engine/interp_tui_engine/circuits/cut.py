"""What cut edges add to what each receiver reads, layer by layer, as the senders before it have spoken. Legend as in `edge_run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .graph import Graph


class Shifts(Protocol):
    """What is added to what each receiver reads."""

    def attention(self, layer: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """Rows (N), receivers within the layer (N), both on the CPU, and shifts (N, E, P, D) of what they read; None for none."""

    def mlp(self, layer: int, z: Tensor | None) -> Tensor | None:
        """Shift (B, E, P, D) of the layer's MLP; `z` (B·E, P, heads, head_dim) are its own heads' outputs where the MLP reads them."""

    def wrote(self, layer: int, z: Tensor, mlp: Tensor) -> None:
        """Told what a layer wrote. z: (B·E, P, heads, head_dim), mlp: (B·E, P, D)."""


@final
class Cut:
    """Shifts that put the ablated sender in the place of the present one: Σ (instead − output) over the cut edges of a receiver.

    Rows do the same before layer `entry`, where `away` (S, E, P, D) says what instead − output is. A receiver that belongs to nodes nobody
    listens to needs no shift, whatever of its edges is cut.
    """

    def __init__(
        self,
        graph: Graph,
        cut: Bool[Tensor, "rows receivers senders"],
        away: Float[Tensor, "senders examples pos d_model"],
        instead: Float[Tensor, "senders examples pos d_model"],
        entry: int,
        head_shares: Callable[[int, Tensor], Tensor],
    ) -> None:
        self.graph, self.instead, self.head_shares = graph, instead, head_shares
        self.heard = (graph.valid & ~cut).any(1)
        self.listening = self.heard.float() @ graph.owned.float().T > 0
        self._cut = (cut & graph.valid).cpu()
        """What the device need not be asked for."""
        self.cut = self._cut.to(away.device, non_blocking=True)
        self.old = graph.senders_before(entry)
        self.shape = away.shape[1:]
        self.before = away[: self.old].flatten(1)
        # what is not written below stays 0: a silent layer says what it says when ablated
        self.after = away.new_zeros(len(cut), len(graph.senders) - self.old, self.before.shape[1])

    @property
    def away(self) -> Float[Tensor, "rows senders examples pos d_model"]:
        """instead − output of every sender, once all have spoken."""
        whole = torch.cat([self.before.expand(len(self.cut), -1, -1), self.after], dim=1)
        return whole.reshape(*whole.shape[:-1], *self.shape)

    def silent(self, layer: int) -> bool:
        """Whether nobody listens to any node of a layer in any row."""
        low = self.graph.senders_before(layer)
        return not bool(self.heard[:, low : low + self.graph.layer_senders].any())

    def attention(self, layer: int) -> tuple[Tensor, Tensor, Tensor] | None:
        low = self.graph.first_reader(layer)
        some = slice(low, low + self.graph.layer_readers)
        active = (self._cut[:, some].any(-1) & self.listening[:, some]).nonzero(as_tuple=True)
        if not len(active[0]):
            return None
        rows, slots = active
        there = [places.to(self.cut.device, non_blocking=True) for places in active]
        return rows, slots, self._sum(some, self.graph.senders_before(layer))[there[0], there[1]]

    def mlp(self, layer: int, z: Tensor | None) -> Tensor | None:
        if z is not None:
            self._heads_wrote(layer, z)
        at = self.graph.first_reader(layer) + self.graph.layer_readers
        active = self._cut[:, at].any(-1) & self.listening[:, at]
        if not active.any():
            return None
        before = self.graph.senders_before(layer) + (0 if z is None else self.graph.layer_senders - 1)
        shift = self._sum(slice(at, at + 1), before)[:, 0]
        return shift * active.to(shift.device, shift.dtype, non_blocking=True)[:, None, None, None]

    def wrote(self, layer: int, z: Tensor, mlp: Tensor) -> None:
        self._heads_wrote(layer, z)
        at = self.graph.senders_before(layer) + self.graph.layer_senders - 1
        self._wrote(at, mlp[None] * self.graph.site_map.residual_scale)

    def logits(self) -> Float[Tensor, "rows examples pos d_model"]:
        """The shift of what is unembedded."""
        last = len(self.graph.receivers) - 1
        return self._sum(slice(last, last + 1), len(self.graph.senders))[:, 0]

    def _heads_wrote(self, layer: int, z: Tensor) -> None:
        self._wrote(self.graph.senders_before(layer), self.head_shares(layer, z))

    def _wrote(self, at: int, output: Float[Tensor, "some rows_examples pos d_model"]) -> None:
        away = self.instead[at : at + len(output), None] - output.reshape(len(output), len(self.cut), *self.shape)
        self.after[:, at - self.old : at - self.old + len(output)] = away.flatten(2).transpose(0, 1)

    def _sum(self, receivers: slice, before: int) -> Float[Tensor, "rows some examples pos d_model"]:
        """Σ away over the cut edges of some receivers, from the first `before` senders."""
        weights = self.cut[:, receivers, :before].to(self.before.dtype)
        total = weights[..., : self.old] @ self.before[:before]
        if before > self.old:
            total = total + weights[..., self.old :] @ self.after[:, : before - self.old]
        return total.reshape(*total.shape[:-1], *self.shape)
