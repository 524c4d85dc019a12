"""attn_pattern: attention weights after the softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return HookPoint(block.attention, "pattern") if block.shows_pattern else None


PLACE = Place(
    name="attn_pattern",
    meaning="attention weights after the softmax",
    shape="(batch, heads, query, key)",
    listed=11,
    order=4,
    find=find,
    bridge="attn.hook_pattern",
    aliases=("pattern",),
    heads="query",
)
