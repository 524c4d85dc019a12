"""mlp_post: the neurons: what the MLP's last matrix multiplies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return None if block.mlp_down is None else HookPoint(block.mlp_down, "input", rows=block.folds_positions)


PLACE = Place(
    name="mlp_post",
    meaning="the neurons: what the MLP's last matrix multiplies",
    shape="(batch, pos, d_mlp)",
    listed=6,
    order=8,
    find=find,
    bridge="mlp.hook_post",
    aliases=("neurons",),
)
