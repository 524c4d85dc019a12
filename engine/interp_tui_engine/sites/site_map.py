"""A model taken apart: its blocks, norms and matrices by role, whatever its architecture calls them, and the port of every site.

Where a family keeps its parts stands in `models.families`; a model type that no family describes is taken for Llama's, whose names most
have kept. A block built otherwise is refused by name, and sums that do not hold are (see `verify`), never guessed at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..models.families import Attention, Family, family_in
from ..models.families.llama import LLAMA
from .places import PLACES
from .points.hook_point import HookPoint
from .points.place import BlockParts
from .site import NAMES, Site

DOWN = ("down_proj", "c_proj", "dense_4h_to_h", "fc_out", "fc2", "w2")
"""Names of a feed-forward module's last matrix."""


@dataclass(frozen=True)
class Block:
    """One layer's modules by role; None where the architecture has no such thing."""

    module: nn.Module
    attention: nn.Module
    ports: dict[str, HookPoint]
    parallel: bool


@final
@dataclass(frozen=True)
class SiteMap:
    """The parts of a causal language model that sites refer to."""

    body: Any
    """The module that turns token ids into the last residual stream (its own final norm included)."""
    embed: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module | None
    head: nn.Module
    family: str
    num_heads: int
    num_kv_heads: int
    d_model: int
    context: int | None
    residual_scale: float
    """By what blocks multiply attn_out and mlp_out when they add them to the residual stream: 1 but in Granite."""
    finish: Callable[[Tensor], Tensor]
    """What the model does to its logits at last: a scale, a soft cap, or nothing."""

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    def unembed(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of a residual stream as the model itself makes them: its final norm, its unembedding, its scale or soft cap."""
        normed = resid if self.final_norm is None else self.final_norm(resid)
        return self.finish(self.head(normed))

    def port(self, site: Site) -> HookPoint:
        """Where the site is read and written. Raises UserError for a site this model does not have."""
        self.check(site)
        if site.name == "embed":
            return HookPoint(self.embed, "output")
        assert site.layer is not None
        return self.blocks[site.layer].ports[site.name]

    def check(self, site: Site) -> None:
        """Raise UserError, with what there is, unless the model has this site."""
        if site.name == "embed":
            return
        if site.layer is None:
            raise UserError(f"site {site} names no layer", f"choose a layer from 0 to {self.num_layers - 1}, such as L0.{site.name}")
        if not 0 <= site.layer < self.num_layers:
            raise UserError(f"site {site}: there is no layer {site.layer}", f"the model has layers 0 to {self.num_layers - 1}")
        ports = self.blocks[site.layer].ports
        if site.name not in ports:
            if site.name == "resid_mid" and self.blocks[site.layer].parallel:
                raise UserError(f"{self.family} has no site resid_mid: its blocks run attention and MLP in parallel", "use resid_pre")
            raise UserError(f"site {site.name} cannot be reached in {self.family}", f"it has {', '.join(n for n in NAMES if n in ports)}")
        heads = self.heads(site.name)
        if site.head is not None and not 0 <= site.head < heads:
            raise UserError(f"site {site}: there is no head {site.head}", f"{site.name} has heads 0 to {heads - 1}")

    def heads(self, name: str) -> int:
        """How many heads a kind of site has: as many as K/V heads for k and v."""
        return self.num_kv_heads if name in PLACES and PLACES[name].heads == "kv" else self.num_heads

    def order(self, site: Site) -> tuple[int, int]:
        """Where in the forward pass a site comes: a later site has a greater order."""
        layer = -1 if site.layer is None else site.layer
        return (layer, -1 if site.name == "embed" else PLACES[site.name].order)


_KNOWN: WeakKeyDictionary[nn.Module, SiteMap] = WeakKeyDictionary()


def site_map_of(model: Any) -> SiteMap:
    """The site map of a LoadedModel or of a transformers module. Raises UserError for an architecture whose parts are not recognised."""
    module: nn.Module = model if isinstance(model, nn.Module) else model.module
    if module not in _KNOWN:
        if (bridge := getattr(module, "hooked", None)) is not None:
            from .transformer_lens import bridged

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


def text_config(module: Any) -> Any:
    """The configuration of a transformers module's language model."""
    return module.config.get_text_config() if hasattr(module.config, "get_text_config") else module.config


def head_counts(config: Any) -> tuple[int, int]:
    """How many heads, and how many K/V heads."""
    heads = int(_setting(config, ("num_attention_heads", "n_head", "num_heads", "n_heads")))
    return heads, _kv_heads(config, heads)


def width_of(config: Any) -> int:
    """The width of the residual stream."""
    return int(_setting(config, ("hidden_size", "n_embd", "d_model")))


def finish_of(config: Any) -> Callable[[Tensor], Tensor]:
    """What a model of this configuration does to its logits at last."""
    cap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)

    def finish(logits: Tensor) -> Tensor:
        if scale is not None:
            logits = logits * scale
        if divisor is not None:
            logits = logits / divisor
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return finish


def _block(layer: nn.Module, family: Family, config: Any, heads: int, kv_heads: int) -> Block:
    name = str(config.model_type)
    kind = next((kind for kind in family.attention if _at(layer, f"{kind.path}.{kind.o}") is not None), None)
    if kind is None:
        there = ", ".join(child for child, _ in layer.named_children())
        known = " or ".join(f"{kind.path}.{kind.o}" for kind in family.attention) or "none"
        raise UserError(f"{name}: no attention found in a {type(layer).__name__}", f"it holds {there}; expected {known}")
    attention = _at(layer, kind.path)
    out = _at(attention, kind.o)
    mlp = next((found for path in family.mlp if (found := _at(layer, path)) is not None and any(found.children())), layer)
    down = next((found for path in DOWN if (found := getattr(mlp, path, None)) is not None), None)
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
    ports = {name: point for name, place in PLACES.items() if (point := place.find(parts)) is not None}
    return Block(layer, attention, ports, parallel)


def _norms(layer: Any) -> tuple[nn.Module | None, nn.Module | None, nn.Module | None]:
    """The norm between attention and the residual sum, the one before the MLP, and the one between the MLP and the residual sum."""
    found = {name: getattr(layer, name, None) for name in dict(layer.named_children())}
    if "post_self_attn_layernorm" in found:  # GLM-4
        return found["post_self_attn_layernorm"], found["post_attention_layernorm"], found["post_mlp_layernorm"]
    if "pre_feedforward_layernorm" in found:  # Gemma 2, 3
        return found["post_attention_layernorm"], found["pre_feedforward_layernorm"], found["post_feedforward_layernorm"]
    if "post_feedforward_layernorm" in found:  # OLMo 2, 3: no norm before
        return found["post_attention_layernorm"], None, found["post_feedforward_layernorm"]
    for name in ("post_attention_layernorm", "ln_2", "final_layer_norm", "norm_2", "ffn_norm", "feedforward_layernorm"):
        if name in found:
            return None, found[name], None
    return None, None, None


def _is_parallel(family: Family, config: Any) -> bool:
    for key in ("use_parallel_residual", "parallel_attn"):
        if (said := getattr(config, key, None)) is not None:
            return bool(said) or bool(getattr(config, "new_decoder_architecture", False))
    return str(config.model_type) in family.parallel


def _qkv(attention: Any, kind: Attention, heads: int, kv_heads: int) -> dict[str, HookPoint]:
    """Ports of queries, keys and values: modules of their own, or columns of one fused projection."""
    counts = {"q": heads, "k": kv_heads, "v": kv_heads}
    if not kind.qkv:
        found = {name: _at(attention, path) for name, path in (("q", kind.q), ("k", kind.k), ("v", kind.v)) if path}
        return {name: HookPoint(module, "output", heads=counts[name]) for name, module in found.items() if module is not None}
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


def _kv_heads(config: Any, heads: int) -> int:
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    found = _setting(config, ("num_key_value_heads", "num_kv_heads", "n_head_kv"), default=heads)
    return heads if found is None else int(found)


_REQUIRED: Any = object()


def _setting(config: Any, names: Sequence[str], default: Any = _REQUIRED) -> Any:
    for name in names:
        if getattr(config, name, None) is not None:
            return getattr(config, name)
    if default is _REQUIRED:
        raise UserError(f"the configuration of {config.model_type} names none of {', '.join(names)}", "this architecture is not known here")
    return default
