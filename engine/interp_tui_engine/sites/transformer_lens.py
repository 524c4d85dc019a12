"""The site map of a model inside a TransformerLens bridge: every site is one of its hook points, whose names its places say."""

from __future__ import annotations

from typing import Any

from .config import finish_of, head_counts, text_config, width_of
from .places import PLACES
from .points.hook_point import HookPoint
from .site_map import Block, SiteMap


def bridged(module: Any, bridge: Any) -> SiteMap:
    """The site map of a transformers module that a TransformerBridge has put its components into."""
    config = text_config(module)
    heads, kv_heads = head_counts(config)
    return SiteMap(
        body=module.base_model,
        embed=bridge.embed,
        blocks=tuple(_block(bridge, layer, heads, kv_heads) for layer in range(len(bridge.blocks))),
        final_norm=bridge.ln_final,
        head=bridge.unembed,
        family=f"{config.model_type} in TransformerLens",
        num_heads=heads,
        num_kv_heads=kv_heads,
        d_model=width_of(config),
        context=getattr(config, "max_position_embeddings", None),
        residual_scale=float(getattr(config, "residual_multiplier", None) or 1.0),
        finish=finish_of(config),
    )


def _block(bridge: Any, layer: int, heads: int, kv_heads: int) -> Block:
    """Heads stand side by side in what passes a hook point; only hooks placed by the bridge itself are shown them apart."""
    block = bridge.blocks[layer]
    split = {"query": heads, "kv": kv_heads}
    points = {name: bridge.get_hook_point(f"blocks.{layer}.{place.bridge}") for name, place in PLACES.items()}
    ports = {
        name: HookPoint(point, "output", heads=None if name == "attn_pattern" else split.get(PLACES[name].heads or ""))
        for name, point in points.items()
        if point is not None
    }
    if "resid_mid" in ports:
        # the block keeps the tensor that this point sees for its residual sum: a change must reach that too
        reader = getattr(block, "ln2", None) or block.mlp
        ports["resid_mid"] = HookPoint(reader, "input in place", owned=False)
    return Block(block, block.attn, ports, parallel="resid_mid" not in ports)
