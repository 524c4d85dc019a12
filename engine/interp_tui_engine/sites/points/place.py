"""What a kind of site says of itself. Torch-free at import: names, aliases and shapes are wanted where torch may not be.

A site is one file in places/ that holds `PLACE = Place(…)`. All else follows from it: the name that `site.parse` accepts, the order in the
forward pass, where it is on a transformers block, and the hook point of a TransformerLens bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from .hook_point import HookPoint


@dataclass(frozen=True)
class BlockParts:
    """One transformers block taken apart by role, as `site_map` finds it; None where the architecture has no such thing."""

    layer: nn.Module
    attention: nn.Module
    attention_out: nn.Module
    """The output projection of attention."""
    attention_post_norm: nn.Module | None
    """The norm between attention and the residual sum."""
    mlp: nn.Module
    mlp_pre_norm: nn.Module | None
    mlp_down: nn.Module | None
    """The last matrix of the MLP."""
    mlp_added: nn.Module | None
    """What puts out the MLP's part of the residual sum."""
    folds_positions: nn.Module | None
    """A module that sees (batch, pos, …) where the MLP sees both folded into one axis (OPT)."""
    adds_in_place: bool
    """Whether the block adds the MLP's output to the residual stream in place."""
    parallel: bool
    """Whether attention and MLP read the same stream, so that there is nothing between them."""
    heads: int
    qkv: dict[str, HookPoint]
    shows_pattern: bool
    """Whether attention runs by the common interface of transformers, which shows its weights."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of site. `meaning` and `shape` are for people; `listed` orders the sites in messages, `order` in a block's forward pass.

    heads: whose heads its value is split into, None where it has none. bridge: the hook point in a TransformerLens block. find: where it is
    read and written on a block, None where this architecture does not have it.
    """

    name: str
    meaning: str
    shape: str
    listed: int
    order: int
    find: Callable[[BlockParts], HookPoint | None]
    bridge: str
    aliases: tuple[str, ...] = ()
    heads: Literal["query", "kv"] | None = None
