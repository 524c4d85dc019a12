"""The site map of a model inside a TransformerLens bridge: every site is one of its hook points, whose names are spelled here only."""

from __future__ import annotations

from typing import Any

from .hook_point import HookPoint
from .site_map import Block, SiteMap, finish_of, head_counts, text_config, width_of

POINTS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "mlp_post": "mlp.hook_post",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "z": "attn.hook_z",
    "attn_pattern": "attn.hook_pattern",
}


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
    split = {"q": heads, "k": kv_heads, "v": kv_heads, "z": heads}
    found = {name: bridge.get_hook_point(f"blocks.{layer}.{point}") for name, point in POINTS.items()}
    ports = {name: HookPoint(point, "output", heads=split.get(name)) for name, point in found.items() if point is not None}
    if "resid_mid" in ports:
        # the block keeps the tensor that this point sees for its residual sum: a change must reach that too
        reader = getattr(block, "ln2", None) or block.mlp
        ports["resid_mid"] = HookPoint(reader, "input in place", owned=False)
    return Block(block, block.attn, ports, parallel="resid_mid" not in ports)
