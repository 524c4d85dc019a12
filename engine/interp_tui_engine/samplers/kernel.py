"""What a sampler file defines, and how it is found by its method's name. Torch-free until a kernel is asked for."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, cast

from .registry import METHODS
from .settings import SamplerConfig

if TYPE_CHECKING:
    import torch


class Kernel(Protocol):
    """The two functions a sampler file defines. Tensors are flat vectors `(p,)` or stacks of them `(chains, p)`.

    Randomness comes in as `noise`, standard normal and shaped like the weights; `step` may use it as scratch.
    """

    State: type[Any]
    """A frozen dataclass whose fields are vectors: `weights`, and others shaped like them."""
    SETTINGS: dict[str, float]

    def init(self, weights: torch.Tensor, config: SamplerConfig) -> Any: ...

    def step(
        self,
        state: Any,
        gradient: torch.Tensor,
        noise: torch.Tensor,
        anchor: torch.Tensor,
        mask: torch.Tensor | None,
        config: SamplerConfig,
    ) -> Any: ...

    def conditioner(self, state: Any, config: SamplerConfig) -> torch.Tensor | None: ...


def kernel_of(method: str) -> Kernel:
    """The implementation of a sampling method; imports it, and torch with it."""
    return cast(Kernel, importlib.import_module(f".{METHODS[method].module}", __package__))


def vectors_of(method: str) -> tuple[str, ...]:
    """Names of the vectors, each as long as the weights, that a method's state holds besides them."""
    return tuple(field.name for field in fields(kernel_of(method).State) if field.name != "weights")
