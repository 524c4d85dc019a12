"""resid_post: the residual stream that leaves a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return HookPoint(block.layer, "output")


PLACE = Place(
    name="resid_post",
    meaning="the residual stream that leaves a block",
    shape="(batch, pos, d_model)",
    listed=3,
    order=10,
    find=find,
    bridge="hook_resid_post",
    aliases=("resid", "residual", "hidden"),
)
