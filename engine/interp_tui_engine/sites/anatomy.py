"""A model taken apart: its blocks, norms and matrices by role, whatever its architecture calls them, and the port of every site.

Parts are found by the names that transformers' architectures use for them; a block built otherwise is refused by name, never guessed at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from .port import Port
from .site import NAMES, Site

PARALLEL = frozenset({"cohere", "cohere2", "phi", "gptj", "codegen"})
"""Families whose every block feeds attention and MLP the same input; others say so in their configuration."""
ADDS_INSIDE = frozenset({"bloom", "mpt"})
"""Families whose MLP module adds the residual stream itself: what it adds is what its last matrix says."""
CHANGES_IN_PLACE = frozenset({"falcon"})
"""Families that add attention's output into the MLP's tensor."""
_ORDER = {name: index for index, name in enumerate(("resid_pre", "q", "k", "v", "attn_pattern", "z", "attn_out", "resid_mid"))}


@dataclass(frozen=True)
class Block:
    """One layer's modules by role; None where the architecture has no such thing."""

    module: nn.Module
    attention: nn.Module
    ports: dict[str, Port]
    parallel: bool


@final
@dataclass(frozen=True)
class Anatomy:
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

    def port(self, site: Site) -> Port:
        """Where the site is read and written. Raises UserError for a site this model does not have."""
        self.check(site)
        if site.name == "embed":
            return Port(self.embed, "output")
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
        return self.num_kv_heads if name in ("k", "v") else self.num_heads

    def order(self, site: Site) -> tuple[int, int]:
        """Where in the forward pass a site comes: a later site has a greater order."""
        layer = -1 if site.layer is None else site.layer
        return (layer, {"mlp_post": 8, "mlp_out": 9, "resid_post": 10, "embed": -1}.get(site.name, _ORDER.get(site.name, 0)))


_KNOWN: WeakKeyDictionary[nn.Module, Anatomy] = WeakKeyDictionary()


def anatomy_of(model: Any) -> Anatomy:
    """The anatomy of a LoadedModel or of a transformers module. Raises UserError for an architecture whose parts are not recognised."""
    module: nn.Module = model if isinstance(model, nn.Module) else model.module
    if module not in _KNOWN:
        if (bridge := getattr(module, "hooked", None)) is not None:
            from .transformer_lens import bridged

            _KNOWN[module] = bridged(module, bridge)
        else:
            _KNOWN[module] = _dissect(module)
    return _KNOWN[module]


def _dissect(module: Any) -> Anatomy:
    config = text_config(module)
    family = str(config.model_type)
    body = _first(module.base_model, ("language_model", "decoder"), family, "body", default=module.base_model)
    layers = _first(body, ("layers", "h", "blocks"), family, "layers")
    heads, kv_heads = head_counts(config)
    blocks = tuple(_block(layer, family, config, heads, kv_heads) for layer in layers)
    norm = _first(body, ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f"), family, "final norm", default=None)
    head = module.get_output_embeddings()
    if head is None:
        raise UserError(f"{family} has no unembedding", "give a causal language model")
    return Anatomy(
        body=module.base_model,
        embed=module.get_input_embeddings(),
        blocks=blocks,
        final_norm=norm,
        head=head,
        family=family,
        num_heads=heads,
        num_kv_heads=kv_heads,
        d_model=width_of(config),
        context=getattr(config, "max_position_embeddings", None),
        residual_scale=float(getattr(config, "residual_multiplier", None) or 1.0),
        finish=finish_of(config),
    )


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


def _block(layer: nn.Module, family: str, config: Any, heads: int, kv_heads: int) -> Block:
    attention = _first(layer, ("self_attn", "attn", "attention", "self_attention"), family, "attention")
    attention = getattr(attention, "attention", attention)  # GPT-Neo wraps its attention once more
    out = _first(attention, ("o_proj", "out_proj", "c_proj", "dense", "wo"), family, "output projection")
    mlp = _first(layer, ("mlp", "feed_forward", "block_sparse_moe", "ffn"), family, "mlp", default=layer)
    down = _first(mlp, ("down_proj", "c_proj", "dense_4h_to_h", "fc_out", "fc2", "w2"), family, "down projection", default=None)
    after_attention, before_mlp, after_mlp = _norms(layer)
    parallel = _is_parallel(family, config)
    flat = layer if mlp is layer else None  # OPT folds positions into the batch for its MLP
    added = after_mlp or (down if flat or family in ADDS_INSIDE else mlp)
    ports = {
        "resid_pre": Port(layer, "input"),
        "resid_post": Port(layer, "output"),
        "attn_out": Port(after_attention or out, "output"),
        "z": Port(out, "input", heads=heads),
        **_qkv(attention, config, heads, kv_heads),
    }
    if added is not None:
        ports["mlp_out"] = Port(added, "output", owned=family not in CHANGES_IN_PLACE, rows=flat)
    if down is not None:
        ports["mlp_post"] = Port(down, "input", rows=flat)
    if not parallel:
        ports["resid_mid"] = Port(before_mlp or mlp, "input in place", owned=False, rows=flat)
    if hasattr(sys.modules[type(attention).__module__], "eager_attention_forward"):
        ports["attn_pattern"] = Port(attention, "pattern")
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


def _is_parallel(family: str, config: Any) -> bool:
    for key in ("use_parallel_residual", "parallel_attn"):
        if (said := getattr(config, key, None)) is not None:
            return bool(said) or bool(getattr(config, "new_decoder_architecture", False))
    return family in PARALLEL


def _qkv(attention: Any, config: Any, heads: int, kv_heads: int) -> dict[str, Port]:
    """Ports of queries, keys and values: modules of their own, or columns of one fused projection."""
    if hasattr(attention, "q_proj"):
        return {
            "q": Port(attention.q_proj, "output", heads=heads),
            "k": Port(attention.k_proj, "output", heads=kv_heads),
            "v": Port(attention.v_proj, "output", heads=kv_heads),
        }
    for name in ("qkv_proj", "c_attn", "Wqkv", "query_key_value"):
        fused = getattr(attention, name, None)
        if fused is None:
            continue
        width = int(fused.weight.shape[0] if isinstance(fused, nn.Linear) else fused.weight.shape[1])
        dim = width // (heads + 2 * kv_heads)
        if name == "query_key_value":
            # every group's queries, then its key, then its value; a group is one head where heads and K/V heads are as many
            if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
                spans = _spans(heads * dim, dim, dim)
            else:
                grid = torch.arange(width).view(kv_heads, heads // kv_heads + 2, dim)
                spans = [grid[:, :-2].reshape(-1), grid[:, -2].reshape(-1), grid[:, -1].reshape(-1)]
        else:
            spans = _spans(heads * dim, kv_heads * dim, kv_heads * dim)
        counts = (heads, kv_heads, kv_heads)
        return {n: Port(fused, "output", columns=span, heads=c) for n, span, c in zip("qkv", spans, counts, strict=True)}
    return {}


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


def _first(parent: Any, names: Sequence[str], family: str, role: str, default: Any = _REQUIRED) -> Any:
    for name in names:
        if (found := getattr(parent, name, None)) is not None:
            return found
    if default is not _REQUIRED:
        return default
    there = [name for name, _ in parent.named_children()]
    guess = get_close_matches(names[0], there, 1)
    raise UserError(
        f"{family}: no {role} found in a {type(parent).__name__}", f"it holds {', '.join(there)}{f'; is it {guess[0]}?' if guess else ''}"
    )
