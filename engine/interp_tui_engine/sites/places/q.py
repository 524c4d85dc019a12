"""q: queries as projected, before q-norm and rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    return block.qkv.get("q")


PLACE = Place(
    name="q",
    meaning="queries as projected, before q-norm and rotation",
    shape="(batch, pos, heads, head_dim)",
    listed=7,
    order=1,
    find=find,
    bridge="attn.hook_q",
    heads="query",
)
