"""z: what each head sends into the output projection: attn_pattern times v."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return HookPoint(block.attention_out, "input", heads=block.heads)


PLACE = Place(
    name="z",
    meaning="what each head sends into the output projection: attn_pattern times v",
    shape="(batch, pos, heads, head_dim)",
    listed=10,
    order=5,
    find=find,
    bridge="attn.hook_z",
    aliases=("heads", "head"),
    heads="query",
)
