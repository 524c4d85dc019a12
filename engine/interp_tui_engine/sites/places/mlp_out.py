"""mlp_out: what the MLP adds to the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    if block.mlp_added is None:
        return None
    return HookPoint(block.mlp_added, "output", owned=not block.adds_in_place, rows=block.folds_positions)


PLACE = Place(
    name="mlp_out",
    meaning="what the MLP adds to the residual stream",
    shape="(batch, pos, d_model)",
    listed=5,
    order=9,
    find=find,
    bridge="hook_mlp_out",
    aliases=("mlp",),
)
