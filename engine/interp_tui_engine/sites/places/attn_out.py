"""attn_out: what attention adds to the residual stream, post-norm included where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..points.place import BlockParts, Place

if TYPE_CHECKING:
    from ..points.hook_point import HookPoint


def find(block: BlockParts) -> HookPoint | None:
    """Where the site is on a block."""
    from ..points.hook_point import HookPoint

    return HookPoint(block.attention_post_norm or block.attention_out, "output")


PLACE = Place(
    name="attn_out",
    meaning="what attention adds to the residual stream, post-norm included where there is one",
    shape="(batch, pos, d_model)",
    listed=4,
    order=6,
    find=find,
    bridge="hook_attn_out",
    aliases=("attn", "attention"),
)
