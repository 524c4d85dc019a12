"""A model taken apart: its blocks, norms and matrices by role, whatever its architecture calls them, and the hook point of every site.

Where a family keeps its parts stands in `models.families`; a model type that no family describes is taken for Llama's, whose names most
have kept. A block built otherwise is refused by name, and sums that do not hold are (see `verify`), never guessed at.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..models.families import Attention, Family, family_in
from ..models.families.llama import LLAMA
from ..models.tensor_parallel import parted
from .config import finish_of, head_counts, text_config, width_of
from .places import PLACES
from .points.hook_point import HookPoint
from .points.place import BlockParts
from .site_map import Block, SiteMap
from .transformer_lens import bridged

DOWN = ("down_proj", "c_proj", "dense_4h_to_h", "fc_out", "fc2", "w2")
"""Names of a feed-forward module's last matrix."""


_KNOWN: WeakKeyDictionary[nn.Module, SiteMap] = WeakKeyDictionary()


def site_map_of(model: Any) -> SiteMap:
    """The site map of a LoadedModel or of a transformers module. Raises UserError for an architecture whose parts are not recognised."""
    module: nn.Module = model if isinstance(model, nn.Module) else model.module
    if module not in _KNOWN:
        if (bridge := getattr(module, "hooked", None)) is not None:
            _KNOWN[module] = bridged(module, bridge)
        else:
            _KNOWN[module] = _dissect(module)
    return _KNOWN[module]


def _dissect(module: Any) -> SiteMap:
    config = text_config(module)
    name = str(config.model_type)
    family = _family(module)
    layers = _at(module, family.blocks)
    if layers is None:
        raise UserError(f"{name} keeps its layers elsewhere than {family.blocks}", "this architecture is not known here")
    heads, kv_heads = head_counts(config)
    head = module.get_output_embeddings()
    if head is None:
        raise UserError(f"{name} has no unembedding", "give a causal language model")
    return SiteMap(
        body=module.base_model,
        embed=module.get_input_embeddings(),
        blocks=tuple(_block(layer, family, config, heads, kv_heads) for layer in layers),
        final_norm=_at(module, family.final_norm) if family.final_norm else None,
        head=head,
        family=name,
        num_heads=heads,
        num_kv_heads=kv_heads,
        d_model=width_of(config),
        context=getattr(config, "max_position_embeddings", None),
        residual_scale=float(getattr(config, "residual_multiplier", None) or 1.0),
        finish=finish_of(config),
    )


def _family(module: Any) -> Family:
    try:
        return family_in(module.config, (name for name, _ in module.named_parameters()))
    except UserError:
        return LLAMA


def _at(parent: Any, path: str) -> Any:
    """The module at a dotted path below another; None where there is none."""
    for name in path.split("."):
        parent = getattr(parent, name, None)
    return parent


def _block(layer: nn.Module, family: Family, config: Any, heads: int, kv_heads: int) -> Block:
    name = str(config.model_type)
    kind = next((kind for kind in family.attention if _at(layer, f"{kind.path}.{kind.o}") is not None), None)
    if kind is None:
        there = ", ".join(child for child, _ in layer.named_children())
        expected = " or ".join(f"{kind.path}.{kind.o}" for kind in family.attention) or "none"
        raise UserError(f"{name}: no attention found in a {type(layer).__name__}", f"it holds {there}; expected {expected}")
    attention = _at(layer, kind.path)
    out = _at(attention, kind.o)
    mlp = next((part for path in family.mlp if (part := _at(layer, path)) is not None and any(part.children())), layer)
    down = next((part for path in DOWN if (part := getattr(mlp, path, None)) is not None), None)
    after_attention, before_mlp, after_mlp = _norms(layer)
    parallel = _is_parallel(family, config)
    flat = layer if mlp is layer else None  # OPT folds positions into the batch for its MLP
    added = after_mlp or (down if flat or family.adds_inside else mlp)
    parts = BlockParts(
        layer=layer,
        attention=attention,
        attention_out=out,
        attention_post_norm=after_attention,
        mlp=mlp,
        mlp_pre_norm=before_mlp,
        mlp_down=down,
        mlp_added=added,
        folds_positions=flat,
        adds_in_place=family.in_place,
        parallel=parallel,
        heads=heads,
        qkv=_qkv(attention, kind, heads, kv_heads),
        shows_pattern=hasattr(sys.modules[type(attention).__module__], "eager_attention_forward"),
    )
    ports = {name: _as_split(point, out) for name, place in PLACES.items() if (point := place.find(parts)) is not None}
    return Block(layer, attention, ports, parallel)


def _as_split(point: HookPoint, out: nn.Module) -> HookPoint:
    """A hook point that knows which axis each rank has a part of, if any. out: the projection of attention's output."""
    if point.side == "pattern":
        return replace(point, parted=1) if parted(out) else point
    return replace(point, parted=-1) if parted(point.module) == ("output" if point.side == "output" else "input") else point


def _norms(layer: Any) -> tuple[nn.Module | None, nn.Module | None, nn.Module | None]:
    """The norm between attention and the residual sum, the one before the MLP, and the one between the MLP and the residual sum."""
    children = {name: getattr(layer, name, None) for name in dict(layer.named_children())}
    if "post_self_attn_layernorm" in children:  # GLM-4
        return children["post_self_attn_layernorm"], children["post_attention_layernorm"], children["post_mlp_layernorm"]
    if "pre_feedforward_layernorm" in children:  # Gemma 2, 3
        return children["post_attention_layernorm"], children["pre_feedforward_layernorm"], children["post_feedforward_layernorm"]
    if "post_feedforward_layernorm" in children:  # OLMo 2, 3: no norm before
        return children["post_attention_layernorm"], None, children["post_feedforward_layernorm"]
    for name in ("post_attention_layernorm", "ln_2", "final_layer_norm", "norm_2", "ffn_norm", "feedforward_layernorm"):
        if name in children:
            return None, children[name], None
    return None, None, None


def _is_parallel(family: Family, config: Any) -> bool:
    for key in ("use_parallel_residual", "parallel_attn"):
        if (parallel := getattr(config, key, None)) is not None:
            return bool(parallel) or bool(getattr(config, "new_decoder_architecture", False))
    return str(config.model_type) in family.parallel


def _qkv(attention: Any, kind: Attention, heads: int, kv_heads: int) -> dict[str, HookPoint]:
    """Ports of queries, keys and values: modules of their own, or columns of one fused projection."""
    counts = {"q": heads, "k": kv_heads, "v": kv_heads}
    if not kind.qkv:
        modules = {name: _at(attention, path) for name, path in (("q", kind.q), ("k", kind.k), ("v", kind.v)) if path}
        return {name: HookPoint(module, "output", heads=counts[name]) for name, module in modules.items() if module is not None}
    fused = _at(attention, kind.qkv)
    width = int(fused.weight.shape[1 if kind.transposed else 0])
    columns = _columns(kind, width, heads, kv_heads)
    return {name: HookPoint(fused, "output", columns=span, heads=counts[name]) for name, span in zip("qkv", columns, strict=True)}


def _columns(kind: Attention, width: int, heads: int, kv_heads: int) -> list[slice | Tensor]:
    """Where queries, keys and values stand among a fused projection's columns (see `models.families.family.Layout`)."""
    dim = width // (heads + 2 * kv_heads)
    every = torch.arange(width)
    match kind.layout:
        case "concatenated":
            return _spans(heads * dim, kv_heads * dim, kv_heads * dim)
        case "sharded":
            grid = every.view(4, 3, -1)
            return [grid[:, 0].reshape(-1), grid[:, 2].reshape(-1), grid[:, 1].reshape(-1)]
        case _:  # interleaved: grouped, with one query head a group
            grid = every.view(kv_heads, heads // kv_heads + 2, dim)
            return [grid[:, :-2].reshape(-1), grid[:, -2].reshape(-1), grid[:, -1].reshape(-1)]


def _spans(*widths: int) -> list[slice | Tensor]:
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
