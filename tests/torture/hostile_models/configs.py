"""Configurations that do not fit their weights, choose code, or are no configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import (
    Case,
    with_config,
    with_raw_config,
    without,
)


def cases() -> Iterator[Case]:
    """All of them."""

    def config(name: str, refusal: str | None, **values: Any) -> Case:
        return Case(name, partial(with_config, values), refusal)

    yield config("no layers over four", r"36 tensors .*no place", num_hidden_layers=0)
    yield config("two layers over four", r"18 tensors .*no place", num_hidden_layers=2)
    yield config("eight layers over four", r"missing", num_hidden_layers=8)
    yield config("a billion layers", r"more than any model|num_hidden_layers", num_hidden_layers=10**9)
    yield config("minus one layer", r"cannot|no place", num_hidden_layers=-1)
    yield config("layers as text", r"config\.json|configuration", num_hidden_layers="many")
    yield config("layers as a list", r"config\.json|configuration", num_hidden_layers=[4])
    yield config("layers by default, 32", r"files hold|missing", num_hidden_layers=None)
    yield config("no heads", r"config\.json|configuration", num_attention_heads=0)
    yield config("three heads of sixteen", r"cannot|config", num_attention_heads=3)
    yield config("a billion heads", r"more than any model", num_attention_heads=10**9)
    yield config("vocabulary of 10**12", r"vocab_size = ", vocab_size=10**12)
    yield config("vocabulary of 10**7", r"describes a model of", vocab_size=10**7)
    yield config("width of 10**15", r"hidden_size = ", hidden_size=10**15)
    yield config("width of zero", r"cannot|config|missing|no place", hidden_size=0)
    yield config("width of minus one", r"config", hidden_size=-16)
    yield config("positions of 10**13", r"max_position_embeddings = ", max_position_embeddings=10**13)
    yield config("architectures a number", r"architectures .* 5, not a list", architectures=5)
    yield config("architectures of null", r"architectures .*not a list", architectures=[None])
    yield config("architectures a table", r"architectures .*not a list", architectures={"a": 1})
    yield config("another architecture", r"no causal language model, but BertModel", architectures=["BertModel"])
    yield config("model_type a list", r"model_type .*not a name", model_type=["x"])
    yield config("model_type a number", r"model_type .*not a name", model_type=7)
    yield config("model_type missing", r"no model_type", model_type=None)
    yield config("model_type unknown", r"no causal|knows no model_type|cannot", model_type="nonesuch", architectures=["LlamaForCausalLM"])
    yield config("model_type of another family", r"weights|configuration|config", model_type="gpt2", architectures=["GPT2LMHeadModel"])
    yield config("attention from the hub", None, _attn_implementation="someone/kernel", attn_implementation="someone/kernel")
    yield config("experts from the hub", None, _experts_implementation="someone/kernel")
    yield config("other weights file", None, transformers_weights="../base/model.safetensors")
    yield config("other weights pickle", None, transformers_weights="adapter_model.bin")
    yield config("own code for a known family", None, auto_map={"AutoModelForCausalLM": "evil.Model"})
    yield config("own code", r"code of its own", auto_map={"AutoModelForCausalLM": "evil.Model"}, model_type="mine")
    yield config("quantised by nobody", None, quantization_config={"quant_method": "nonesuch"})
    yield config("quantisation a number", r"config|weights", quantization_config=5)
    yield config("activation unknown", r"config", hidden_act="__import__('os').abort()")
    yield config("rope a number", r"config", rope_scaling=5)
    yield config("rope unknown", r"config", rope_scaling={"rope_type": "nonesuch", "factor": 2.0})
    yield config("epsilon as text", r"config", rms_norm_eps="small")
    yield config("dtype unknown", r"config|None", dtype="float13")
    yield config("tied in the config only", None, tie_word_embeddings=True)
    yield Case("config of brackets", partial(with_raw_config, b"[" * 100_000), r"nested too deep")
    yield Case("config of deep tables", partial(with_raw_config, b'{"a":' * 500 + b"1" + b"}" * 500), r"nested deeper")
    yield Case(
        "config of 5,000 digits", partial(with_raw_config, b'{"model_type": "llama", "vocab_size": ' + b"9" * 5000 + b"}"), r"digits"
    )
    yield Case("config a list", partial(with_raw_config, b"[]"), r"no table")
    yield Case("config not JSON", partial(with_raw_config, b"{"), r"is not JSON")
    yield Case("config not text", partial(with_raw_config, b"\xff\xfe\x00\xd8" * 9), r"is not JSON")
    yield Case("config empty", partial(with_raw_config, b""), r"is not JSON")
    yield Case("config an empty table", partial(with_raw_config, b"{}"), r"no model_type")
    yield Case("config a folder", _config_folder, r"no config")
    yield Case("config a pipe", _config_pipe, r"no config")


def _config_folder(base: Path, to: Path) -> Path:
    without(base, to, "config.json")
    (to / "config.json").mkdir()
    return to


def _config_pipe(base: Path, to: Path) -> Path:
    without(base, to, "config.json")
    os.mkfifo(to / "config.json")
    return to
