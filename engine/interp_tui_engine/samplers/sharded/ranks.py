"""The processes that hold one model together, as the sampler sees them: sums over all, rows dealt out, decisions that all share.

Everything here is a collective call: every rank must make it, at the same place. Numbers that decide what comes next (whether a chain is
still finite, whether to stop) are therefore made the same on all ranks before anybody acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh


@final
@dataclass(frozen=True)
class Ranks:
    """This process among `count`; `mesh` is the line of them all."""

    rank: int
    count: int
    mesh: DeviceMesh

    @property
    def device(self) -> torch.device:
        """Where rank 0 computes."""
        own = self.own_device
        return own if own.index is None else torch.device(own.type, own.index - self.rank)

    @property
    def own_device(self) -> torch.device:
        """Where this rank computes."""
        kind = self.mesh.device_type
        return torch.device(kind) if kind == "cpu" else torch.device(kind, torch.cuda.current_device())

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over all ranks, the same bits on each."""
        summed = torch.from_numpy(np.array(values, dtype=np.float64)).to(self.mesh.device_type)
        dist.all_reduce(summed)
        return np.asarray(summed.cpu().numpy())

    def meet(self) -> None:
        """Return when all have come here: nobody leaves while another still waits for its part of something."""
        dist.barrier()

    def agreed(self, value: int) -> int:
        """What rank 0 says."""
        said = torch.tensor([value], device=self.mesh.device_type)
        dist.broadcast(said, 0)
        return int(said.item())

    def told(self, thing: object) -> Any:
        """What rank 0 has, on each rank a copy of its own."""
        told = [thing if self.rank == 0 else None]
        dist.broadcast_object_list(told, 0, device=torch.device("cpu"))
        return told[0]

    def everyones(self, values: Sequence[int]) -> list[list[int]]:
        """What each rank has, by rank."""
        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, list(values))
        return [[int(value) for value in theirs] for theirs in gathered]

    def agreeing(self, decide: Callable[[], int]) -> Callable[[], int]:
        """`decide`, asked of rank 0 only and told to all."""
        return lambda: self.agreed(decide() if self.rank == 0 else 0)

    def mine(self, rows: int) -> slice:
        """The rows of a batch that this rank computes; none where there are fewer than ranks."""
        share = -(-rows // self.count)
        return slice(min(rows, self.rank * share), min(rows, (self.rank + 1) * share))


class GatherRows(torch.autograd.Function):
    """The losses of all rows from those of each rank's. Gradients flow to this rank's rows, times the number of ranks: FSDP2 takes the
    mean of the ranks' gradients, and the gradient of the whole batch is their sum."""

    @staticmethod
    def forward(ctx: Any, mine: Float[Tensor, "m t"], rows: int, ranks: Ranks) -> Float[Tensor, "b t"]:
        ctx.here, ctx.count = ranks.mine(rows), ranks.count
        share = -(-rows // ranks.count)
        padded = mine.new_zeros(share, mine.shape[1])
        used = ctx.here.stop - ctx.here.start
        padded[:used] = mine[:used]
        ctx.mine = mine.shape[0]
        parts = [torch.empty_like(padded) for _ in range(ranks.count)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)[:rows]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "b t"]) -> tuple[Tensor, None, None]:
        mine = gradient.new_zeros(ctx.mine, gradient.shape[1])
        part = gradient[ctx.here]
        mine[: part.shape[0]] = part * ctx.count
        return mine, None, None
