"""How one kind of site is read and written on one module: which side of the module, which columns, how many heads.

A port is bound to modules by `site_map`; hooks are registered by `hooks`. Legend: B batch, P position, H heads, D head_dim, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from ...models.tensor_parallel import gathered, own_part

Side = Literal["input", "output", "input in place", "pattern"]


@dataclass(frozen=True)
class HookPoint:
    """Where a site's value passes: on the given side of a module, as some of its columns.

    'input in place' is a tensor that the block also keeps for its residual sum: it is overwritten rather than replaced. 'pattern' is the
    second value of an attention module. `owned` says that nobody else will change the tensor, so that it need not be copied to be kept.
    """

    module: nn.Module
    side: Side
    columns: slice | Tensor | None = None
    heads: int | None = None
    owned: bool = True
    rows: nn.Module | None = None
    """A module that sees (B, P, ...) where this one sees batch and positions folded into one axis."""
    parted: int | None = None
    """The axis of the module's tensor of which each rank has its part only, where several devices hold the model."""

    def read(self, tensor: Tensor) -> Tensor:
        """The site's value in the module's tensor: (B, P, C), or (B, P, H, D) where it has heads; a view where that is possible."""
        if self.parted is not None:
            tensor = gathered(tensor, self.parted)
        if self.side == "pattern":
            return tensor
        columns = self.columns
        value = tensor if columns is None else tensor[..., columns if isinstance(columns, slice) else columns.to(tensor.device)]
        if self.heads is not None:
            value = value.reshape(*value.shape[:-1], self.heads, -1)
        return value if self.owned else value.clone()

    def write(self, tensor: Tensor, value: Tensor) -> Tensor:
        """The module's tensor with the site's value in it; a new tensor, except where the residual sum must see the change.

        The value's shape is that of `read`.
        """
        if self.parted is not None:
            everything = tensor if self.columns is None else gathered(tensor, self.parted)
            return own_part(replace(self, parted=None).write(everything, value), self.parted)
        if self.side == "pattern":
            return value
        if self.heads is not None:
            value = value.flatten(-2)
        if self.side == "input in place":
            return tensor.copy_(value)
        if self.columns is None:
            return value
        result = tensor.clone()
        result[..., self.columns if isinstance(self.columns, slice) else self.columns.to(tensor.device)] = value
        return result
