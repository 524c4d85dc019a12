"""A step's noise, update, box and norms in two launches, for one chain or a stack of them.

What is sampled is what `PhiloxSource` and the sampler's own file give, to rounding: noise comes from the same counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.device import launching_on
from ..philox import StackedPhilox
from ..settings import SamplerConfig
from ..target.space import FlatSpace
from .plan import UpdatePlan, aligned, plan_of

UpdateName = Literal["operations", "kernel"]
"""What makes a step's noise and update: PyTorch's operations one by one, or a kernel. The numbers are equal to rounding."""

Launch = Callable[[UpdatePlan, Tensor, Tensor], None]
"""(plan, addresses of the segments' gradients, the step's number) -> the update, its sums in the plan."""


def kernels() -> Launch:
    """What carries out a plan. Imports triton: ImportError where there is none."""
    from .update_triton import launch

    return launch


@final
class FusedUpdate:
    """The update of C chains whose gradients stay where they are, or of one chain whose gradients lie elsewhere each step."""

    def __init__(
        self,
        space: FlatSpace,
        config: SamplerConfig,
        weights: Float[Tensor, "C size"],
        vectors: Mapping[str, Float[Tensor, "C size"]],
        noise: StackedPhilox,
        *,
        gradient: Float[Tensor, "C size"] | None = None,
        published: Tensor | None = None,
    ) -> None:
        """gradient: of all chains, where it is one array; else each step brings its own. published: the model's copy of the weights, where
        it computes with one (C = 1)."""
        self._launch = kernels()
        dtype, stride = self._dtype, _ = (space.dtype, 0) if gradient is None else (gradient.dtype, gradient.stride(0))
        self._plan = plan_of(space, config, weights, vectors, noise, published, dtype, stride)
        self._lengths = [block.stop - block.start for block in space.blocks]
        self._gradients: Tensor | None = None
        if gradient is not None:
            self._gradients = torch.tensor([gradient[0, b.start :].data_ptr() for b in space.blocks], device=weights.device)

    def of_stack(self, step: Int[Tensor, " 1"]) -> None:
        """Move all chains by the gradients in the array. Nothing waits; what was measured is in `norms`."""
        assert self._gradients is not None, "made without an array of gradients"
        self._carry_out(self._gradients, step)

    def of_chain(self, step: int, gradients: Iterable[Tensor | None]) -> None:
        """Move one chain by its blocks' gradients, None where there is none, in the model's type. Nothing waits."""
        device = self._plan.weights.device
        kept = [
            torch.zeros(length, dtype=self._dtype, device=device) if gradient is None else aligned(gradient.to(self._dtype))
            for gradient, length in zip(gradients, self._lengths, strict=True)
        ]
        table = torch.tensor([step, *(gradient.data_ptr() for gradient in kept)]).to(device, non_blocking=True)
        self._carry_out(table[1:], table[:1])

    @property
    def squares(self) -> Float[Tensor, "C 2"]:
        """|g|² and |w - w0|² of the newest step, on the device. Not finite where any of g and w is not."""
        return self._plan.squares[:, :2]

    @property
    def norms(self) -> Float[Tensor, "C 2"]:
        """|g| and |w - w0| of the newest step, on the device."""
        return self._plan.norms[:, :2]

    def _carry_out(self, gradients: Tensor, step: Tensor) -> None:
        plan = self._plan
        with launching_on(plan.weights.device):
            self._launch(plan, gradients, step)
        if plan.couples:  # SGNHT's friction, which needs |v|² of all coordinates
            plan.second.add_(plan.heat[:, 2:])
