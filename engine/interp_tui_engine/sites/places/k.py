"""k: keys as projected; one head a group, never expanded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    return block.qkv.get("k")


PLACE = Place(
    name="k",
    meaning="keys as projected; one head a group, never expanded",
    shape="(batch, pos, kv_heads, head_dim)",
    listed=8,
    order=2,
    find=find,
    bridge="attn.hook_k",
    heads="kv",
)
