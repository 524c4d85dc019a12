"""For every architecture: perturbing what a head's restriction selects changes that head's output and no other head's.

What a head puts out is read where transformers itself joins the heads: at the input of the output projection, whose columns belong to
head 0, head 1, … in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.families import HOOKED_TRANSFORMER, known_types
from interp_tui_engine.models.restrictions.masks import create_param_masks, parameter_map_of
from interp_tui_engine.models.restrictions.parameter_map import Heads
from references.tiny_architectures import HEADS, tiny_model

_DEVINTERP = (
    "afmoe apertus arcee aria_text bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot blenderbot-small bloom camembert"
    " code_llama codegen cpmant ctrl cwm data2vec-text electra ernie ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon gemma gemma2"
    " gemma3_text gemma4_text glm glm4 glm4_moe gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj granite"
    " granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe jais2 lfm2 llama llama4_text mbart megatron-bert minimax ministral"
    " ministral3 mistral mixtral mpt mvp nanochat nemotron olmo openai-gpt opt pegasus persimmon phi phi3 phimoe plbart qwen2 qwen2_moe"
    " qwen3 qwen3_moe rembert roberta roberta-prelayernorm roc_bert roformer seed_oss smollm3 solar_open stablelm starcoder2 trocr"
    " vaultgemma whisper xglm xlm xlm-roberta xlm-roberta-xl xmod"
)
DEVINTERP = set(_DEVINTERP.split())
"""The 94 model types that devinterp 2.0.1 describes."""

NOT_IN_TRANSFORMERS = {"code_llama": "transformers configures Code Llama as llama and has no configuration class of this name"}

VARIANTS = {
    "falcon, a key-value head a group": ("falcon", {"new_decoder_architecture": True}),
    "falcon, a key-value head a head": ("falcon", {"new_decoder_architecture": False, "multi_query": False, "num_kv_heads": HEADS}),
    "gpt_bigcode, a key-value head a head": ("gpt_bigcode", {"multi_query": False}),
    "deepseek_v2, queries of full rank": ("deepseek_v2", {"q_lora_rank": None}),
    "gemma4_text, keys as values": ("gemma4_text", {"attention_k_eq_v": True}),
    "qwen3, heads wider than the stream divided": ("qwen3", {"head_dim": 16}),
}
CASES = {**{t: (t, {}) for t in known_types() if t in CONFIG_MAPPING}, **VARIANTS}

NORMS_OVER_HEADS = {
    **dict.fromkeys(("flex_olmo", "minimax_m2", "olmo2", "olmo3", "olmo_hybrid", "olmoe"), ("q_norm", "k_norm")),
    "bitnet": ("attn_sub_norm",),
    "minimax": ("norm",),
}
"""Types that normalise over all heads at once. There one head's weights move the others through the norm's denominator, whatever the
masks; the norms are taken out to see what the weights themselves do."""


class _Enough(Exception):
    pass


@contextmanager
def _reading(model: nn.Module, path: str, found: list[Tensor]) -> Iterator[None]:
    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].detach().clone())
        raise _Enough

    handle = model.get_submodule(path).register_forward_pre_hook(read)
    try:
        yield
    finally:
        handle.remove()


def _heads_out(model: nn.Module, heads: Heads) -> Tensor:
    """(tokens, H, d_v): each head's output."""
    found: list[Tensor] = []
    with _reading(model, f"{heads.path}.{heads.attention.o}", found), torch.no_grad(), pytest.raises(_Enough):
        model(torch.tensor([[5, 11, 3, 29, 17, 8]]))
    return found[0].reshape(-1, heads.count, found[0].shape[-1] // heads.count)


def _uncouple(model: nn.Module, model_type: str, heads: Heads) -> None:
    attention = model.get_submodule(heads.path)
    for name in NORMS_OVER_HEADS.get(model_type, ()):
        if hasattr(attention, name):
            setattr(attention, name, nn.Identity())


@contextmanager
def _perturbed(model: nn.Module, masks: dict[str, Tensor | None]) -> Iterator[None]:
    parameters = dict(model.named_parameters())
    before = {name: parameters[name].detach().clone() for name in masks}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, mask in masks.items():
            kick = torch.rand(parameters[name].shape, generator=generator) + 0.5
            parameters[name].add_(kick if mask is None else kick * mask)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                parameters[name].copy_(value)


def _changed(model: nn.Module, heads: Heads, restriction: str, before: Tensor) -> set[int]:
    with _perturbed(model, create_param_masks(model, restriction)):
        after = _heads_out(model, heads)
    away = (after - before).abs().amax((0, 2)) / before.abs().amax()
    assert not ((away > 1e-6) & (away < 1e-4)).any(), f"{restriction}: neither changed nor unchanged: {away.tolist()}"
    return set(torch.nonzero(away > 1e-4).flatten().tolist())


def _check_output_columns(model: nn.Module, heads: Heads, restriction: str, head: int) -> None:
    """The output projection's selected weights read this head's output and no other's."""
    masks = create_param_masks(model, restriction)
    projection = model.get_submodule(f"{heads.path}.{heads.attention.o}")
    (name,) = [n for n in masks if n.startswith(f"{heads.path}.{heads.attention.o}.")]
    width = sum(1 for owner in heads.slices[name].owners if owner == 0)
    ones = torch.zeros(heads.count, width)
    ones[head] = 1
    for reads, given in ((True, ones), (False, 1 - ones)):
        row = given.reshape(1, 1, -1)
        with torch.no_grad():
            before = projection(row)
            with _perturbed(model, {name: masks[name]}):
                after = projection(row)
        assert torch.equal(before, after) != reads, f"{restriction}: {name}"


def _coverage(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    shapes = dict(model.named_parameters())
    return {name: torch.zeros(shapes[name].shape, dtype=torch.int8) for name in names}


def _check_partition(model: nn.Module, layer: int, heads: Heads) -> None:
    """Heads and the key-value heads they share overlap nowhere, lie inside the attention part, and all owned slices are covered."""
    covered = _coverage(model, parameter_map_of(model).attention(layer))
    units = [f"l{layer}h{i} own" for i in range(heads.count)]
    units += [f"l{layer}kv{i}" for i in range(heads.groups)] if heads.groups < heads.count else []
    for unit in units:
        for name, mask in create_param_masks(model, unit).items():
            covered[name] += 1 if mask is None else mask.to(torch.int8)
    for name, count in covered.items():
        assert int(count.max()) <= 1, f"{name} is in two heads"
        if name in heads.slices:
            assert bool((count == 1).all()), f"part of {name} is in no head"


def _check_parts(model: nn.Module, layers: int) -> None:
    """Parts of a layer are disjoint parts of it; norms are in no smaller part; layers do not overlap, nor touch the embedding."""
    seen: set[str] = set(create_param_masks(model, "embed"))
    assert seen
    parameter_map = parameter_map_of(model)
    for layer in range(layers):
        whole = set(create_param_masks(model, f"l{layer}"))
        assert whole and not whole & seen
        seen |= whole
        parts = [set(part(layer)) for part in (parameter_map.attention, parameter_map.mlp, parameter_map.mixer)]
        assert any(parts) and set().union(*parts) <= whole
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert not [name for name in set().union(*parts) if isinstance(_owner(model, name), nn.LayerNorm)]


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


@pytest.mark.filterwarnings("ignore:'embed' selects")
@pytest.mark.parametrize("case", CASES)
def test_a_restriction_is_the_head_it_names(case: str) -> None:
    model_type, settings = CASES[case]
    torch.manual_seed(0)
    model = tiny_model(model_type, **settings)
    parameter_map = parameter_map_of(model)
    _check_parts(model, parameter_map.layers)
    attending = {layer: heads for layer in range(parameter_map.layers) if (heads := parameter_map.heads(layer)) is not None}
    if not attending:
        with pytest.raises(UserError, match=r"has no attention heads\n.*'l0 mixer'"):
            create_param_masks(model, "l0h0")
        assert create_param_masks(model, "l0 mixer")
        return
    for layer, heads in attending.items():
        assert heads.count == HEADS
        _check_partition(model, layer, heads)
        _uncouple(model, model_type, heads)
        before = _heads_out(model, heads)
        size = heads.count // heads.groups
        for head in range(heads.count):
            assert _changed(model, heads, f"l{layer}h{head} own", before) == {head}
            first = head // size * size
            assert _changed(model, heads, f"l{layer}h{head}", before) == set(range(first, first + size)), "it shares its keys and values"
            _check_output_columns(model, heads, f"l{layer}h{head}", head)
        for group in range(heads.groups if size > 1 else 0):
            members = set(range(group * size, (group + 1) * size))
            assert _changed(model, heads, f"l{layer}g{group}", before) == members
            assert _changed(model, heads, f"l{layer}kv{group}", before) == members


def test_every_type_that_devinterp_names_is_known_and_thirty_more() -> None:
    known = set(known_types()) - {HOOKED_TRANSFORMER}
    assert len(DEVINTERP) == 94 and known >= DEVINTERP
    assert len({t for t in known - DEVINTERP if t in CONFIG_MAPPING}) >= 30
    assert {t for t in known if t not in CONFIG_MAPPING} == set(NOT_IN_TRANSFORMERS)
