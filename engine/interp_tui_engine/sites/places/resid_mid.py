"""resid_mid: the residual stream between attention and MLP, in sequential blocks only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    if block.parallel:
        return None
    return HookPoint(block.mlp_pre_norm or block.mlp, "input in place", owned=False, rows=block.folds_positions)


PLACE = Place(
    name="resid_mid",
    meaning="the residual stream between attention and MLP, in sequential blocks only",
    shape="(batch, pos, d_model)",
    listed=2,
    order=7,
    find=find,
    bridge="hook_resid_mid",
)
