"""Which parameters devinterp 2.0.1 selects, beside ours: what the comparison is made on, and every fault of the peer's, in one place.

A selection is known by its digest: the names of its parameters in order, and where each is selected. Recorded in an environment that has
devinterp and the transformers of this project:

    PYTHONPATH=engine:tests python tests/references/devinterp_restrictions.py tests/engine/models/recorded/devinterp_restrictions.json
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from references.tiny_architectures import tiny_model

RESTRICTIONS = ("full", "l0", "l1", "l0 attn", "l1 attn", "l0 mlp", "l1 mlp", "l0h0", "l0h1", "l1h2", "l0g0", "l1g1", "embed", "unembed")
HEADS = ("l0h0", "l0h1", "l1h2", "l0g0", "l1g1")
ERROR = "error"
"""In place of a digest, where the peer raises."""


@dataclass(frozen=True)
class Fault:
    """What devinterp 2.0.1 does not select right, and for which of its model types."""

    why: str
    restrictions: tuple[str, ...]
    model_types: tuple[str, ...]


_BERTS = (
    "bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert rembert roberta roberta-prelayernorm roc_bert"
    " roformer xlm-roberta xlm-roberta-xl xmod"
)
_TIED = (
    "bart bert bert-generation big_bird biogpt blenderbot blenderbot-small bloom camembert ctrl data2vec-text electra ernie ernie4_5"
    " ernie4_5_moe falcon gemma gemma2 gemma3_text gemma4_text gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox_japanese lfm2 mbart megatron-bert"
    " mpt mvp openai-gpt opt pegasus plbart roberta roberta-prelayernorm roc_bert roformer smollm3 starcoder2 trocr vaultgemma whisper xglm"
    " xlm xlm-roberta xlm-roberta-xl xmod"
)


def _fault(why: str, restrictions: tuple[str, ...], model_types: str) -> Fault:
    return Fault(why, restrictions, tuple(model_types.split()))


FAULTS = (
    _fault("a tied matrix or bias goes by its other name, so it is not selected, or nothing is", ("unembed",), _TIED),
    _fault("the same, of the embedding that is listed under the name it has as unembedding", ("embed",), "camembert xlm-roberta"),
    _fault("the unembedding is looked for under a name that transformers no longer gives it", ("unembed",), "gpt_neox"),
    _fault("'output.dense' ends the name of attention's output projection too, which the MLP takes with it", ("l0 mlp", "l1 mlp"), _BERTS),
    _fault(
        "experts and routers are looked for under names that transformers no longer gives them, or not at all",
        ("l0 mlp", "l1 mlp"),
        ("aria_text granitemoe granitemoeshared"),
    ),
    _fault("the same, where the first layer has no experts", ("l1 mlp",), "afmoe ernie4_5_moe exaone_moe glm4_moe"),
    _fault("d_model / heads is taken for the width of a head, which is wider in some layers", ("l1h2",), "gemma4_text"),
    _fault(
        "key-value heads are counted by a setting that multi-query attention does not follow", ("l0h0", "l0h1", "l1h2", "l0g0"), "falcon"
    ),
    _fault("the encoder's number of heads is taken for the decoder's", HEADS, "whisper"),
    _fault("a key bias counts where positions turn the keys", HEADS, "roformer"),
    _fault(
        "a layer of linear attention has projections of its own, which are not selected", ("l0 attn", "l0h0", "l0h1", "l0g0"), "minimax"
    ),
    _fault(
        "a layer without attention gives an empty selection, with which nothing is sampled", ("l0 attn", "l0h0", "l0h1", "l0g0"), "lfm2"
    ),
    _fault("norms and MLP, which stand beside the list of layers, are left out", ("l0", "l1", "l0 mlp", "l1 mlp"), "xlm"),
)


def fault_of(model_type: str, restriction: str) -> Fault | None:
    """The fault that keeps the two apart there, if one is known."""
    return next((fault for fault in FAULTS if model_type in fault.model_types and restriction in fault.restrictions), None)


def digest_of(model: nn.Module, masks: Mapping[str, Tensor | None]) -> str:
    """12 hexadecimal digits of what masks select; parameters of which they select nothing do not count."""
    sha = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if name in masks:
            mask = masks[name]
            whole = torch.ones(parameter.shape, dtype=torch.bool) if mask is None else mask.bool()
            if whole.any():
                sha.update(name.encode() + whole.contiguous().numpy().tobytes())
    return sha.hexdigest()[:12]


def parameters_digest(model: nn.Module) -> str:
    """12 hexadecimal digits of the parameters' names and shapes, which other releases of transformers choose otherwise."""
    return hashlib.sha256(str([(name, tuple(p.shape)) for name, p in model.named_parameters()]).encode()).hexdigest()[:12]


def record(path: Path) -> None:
    """Write what the peer selects, for every type that it describes and that transformers can make."""
    from devinterp.slt._model_structures import HEAD_STRUCTURES
    from devinterp.slt.weight_restrictions import create_param_masks

    table: dict[str, dict[str, str]] = {}
    for model_type in sorted(HEAD_STRUCTURES):
        if model_type in ("hooked_transformer", "code_llama"):
            continue
        model = tiny_model(model_type)
        digests = {"parameters": parameters_digest(model)}
        for restriction in RESTRICTIONS:
            try:
                digests[restriction] = digest_of(model, create_param_masks(model, restriction))
            except (ValueError, RuntimeError):
                digests[restriction] = ERROR
        table[model_type] = digests
    path.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    record(Path(sys.argv[1]))
