"""resid_pre: the residual stream that enters a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return HookPoint(block.layer, "input")


PLACE = Place(
    name="resid_pre",
    meaning="the residual stream that enters a block",
    shape="(batch, pos, d_model)",
    listed=1,
    order=0,
    find=find,
    bridge="hook_resid_pre",
)
