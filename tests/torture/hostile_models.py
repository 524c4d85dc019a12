"""Model folders and GGUF files that are incomplete, misnamed, damaged or malicious, each with what loading it must do."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

LAYERS, WIDTH, VOCABULARY = 4, 16, 64


@dataclass(frozen=True)
class Case:
    """One hostile model. `make(base, to)` builds it from the sound folder `base` at the path `to` and returns what to load;
    `refusal` is a pattern of the error's text, None where the model must load whole."""

    name: str
    make: Callable[[Path, Path], Path]
    refusal: str | None
    trust: bool = False


class Bomb:
    """Pickled, it makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def went_off(to: Path) -> Path:
    """The file that a case's bomb makes: its presence means that code was run."""
    return to.parent / f"{to.name}.went-off"


def sound_folder(to: Path) -> Path:
    """A Llama of a few thousand parameters, as `save_pretrained` leaves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(to)
    return to


def cases() -> list[Case]:
    """All of them, by name."""
    return [*_weights(), *_indices(), *_configs(), *_ggufs()]


def _copy(base: Path, to: Path) -> Path:
    shutil.copytree(base, to)
    return to


def _rewrite(change: Callable[[dict[str, Any]], dict[str, Any]], base: Path, to: Path) -> Path:
    """The folder with other tensors."""
    from safetensors.torch import load_file, save_file

    _copy(base, to)
    path = to / "model.safetensors"
    tensors = change(load_file(path))
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    return to


def _configure(values: dict[str, Any], base: Path, to: Path) -> Path:
    """The folder with other values in its config.json; None takes one out."""
    _copy(base, to)
    config = json.loads((to / "config.json").read_text()) | values
    (to / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return to


def _raw_config(text: bytes, base: Path, to: Path) -> Path:
    _copy(base, to)
    (to / "config.json").write_bytes(text)
    return to


def _without(base: Path, to: Path, *names: str) -> Path:
    _copy(base, to)
    for name in names:
        (to / name).unlink()
    return to


def _bytes(change: Callable[[bytes], bytes], base: Path, to: Path) -> Path:
    """The folder with other bytes in its weights."""
    _copy(base, to)
    path = to / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    return to


def _header(change: Callable[[dict[str, Any]], Any], base: Path, to: Path) -> Path:
    """The folder with another header in its weights."""

    def changed(content: bytes) -> bytes:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return _bytes(changed, base, to)


def _nan(tensors: dict[str, Any], value: float = float("nan")) -> dict[str, Any]:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 2] = value
    return tensors


def _weights() -> Iterator[Case]:
    first = "model.layers.0.self_attn.q_proj.weight"
    yield Case("sound", _copy, None)
    yield Case(
        "one tensor missing", partial(_rewrite, lambda t: {k: v for k, v in t.items() if k != first}), r"1 tensor .* missing.*q_proj"
    )
    half = partial(_rewrite, lambda t: {k: v for k, v in t.items() if ".layers.2." not in k and ".layers.3." not in k})
    yield Case("half its layers missing", half, r"18 tensors .* missing")
    yield Case("norm missing", partial(_rewrite, lambda t: {k: v for k, v in t.items() if k != "model.norm.weight"}), r"missing .*norm")
    no_head = partial(_rewrite, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    yield Case("head missing, not tied", no_head, r"missing.*lm_head")
    yield Case("every key renamed", partial(_rewrite, lambda t: {f"net.{k}": v for k, v in t.items()}), r"missing.*; .*no place")
    yield Case("extra tensor", partial(_rewrite, lambda t: t | {"model.extra.weight": t[first]}), r"1 tensor .*no place.*model\.extra")
    yield Case("no tensors", partial(_rewrite, lambda t: {}), r"hold 0|missing")
    yield Case(
        "a tensor under two names",
        partial(_rewrite, lambda t: t | {"layers.0.self_attn.q_proj.weight": t[first] * 2}),
        r"two|twice|no place",
    )
    yield Case("wrong shape", partial(_rewrite, lambda t: t | {first: t[first][:4]}), r"cannot be loaded|shape")
    yield Case(
        "transposed",
        partial(_rewrite, lambda t: t | {"model.layers.0.mlp.up_proj.weight": t["model.layers.0.mlp.up_proj.weight"].T}),
        r"cannot|shape",
    )
    yield Case("scalar in place of a matrix", partial(_rewrite, lambda t: t | {first: t[first][0, 0]}), r"cannot|shape")
    yield Case("NaN", partial(_rewrite, _nan), r"1 tensor of its weights holds NaN or infinity .*up_proj")
    yield Case("infinity", partial(_rewrite, partial(_nan, value=float("inf"))), r"NaN or infinity")
    yield Case("minus infinity", partial(_rewrite, partial(_nan, value=float("-inf"))), r"NaN or infinity")
    yield Case(
        "old rotary buffer", partial(_rewrite, lambda t: t | {"model.layers.0.self_attn.rotary_emb.inv_freq": t[first][0, :4]}), None
    )
    yield Case("cut short", partial(_bytes, lambda content: content[: len(content) // 2]), r"cannot be loaded")
    yield Case("one byte short", partial(_bytes, lambda content: content[:-1]), r"cannot be loaded")
    yield Case("bytes after the end", partial(_bytes, lambda content: content + b"\0" * 64), r"cannot be loaded")
    yield Case("empty file", partial(_bytes, lambda _: b""), r"cannot be loaded")
    yield Case("header of 2**63 bytes", partial(_bytes, lambda content: struct.pack("<Q", 2**63) + content[8:]), r"cannot be loaded")
    yield Case("header of brackets", partial(_bytes, lambda _: struct.pack("<Q", 100_000) + b"[" * 100_000), r"cannot be loaded")
    yield Case("overlapping tensors", partial(_header, _overlap), r"cannot be loaded")
    yield Case("tensor beyond the end", partial(_header, _beyond), r"cannot be loaded")
    yield Case("unknown dtype", partial(_header, lambda header: header | {first: header[first] | {"dtype": "F13"}}), r"cannot be loaded")
    yield Case("pickle named safetensors", _pickle_in_disguise, r"cannot be loaded")
    yield Case("pickle only", _pickle_only, r"only as pickles")
    yield Case("adapter beside", _adapter, r"adapter")
    yield Case("other name", lambda base, to: _renamed(base, to, "weights.safetensors"), r"no weights that can be loaded but weights")
    yield Case("weights are a pipe", _pipe, r"no weights|cannot be loaded")
    yield Case("weights are a folder", _weights_folder, r"no weights")
    yield Case("no weights", lambda base, to: _without(base, to, "model.safetensors"), r"no weights")
    yield Case("no config", lambda base, to: _without(base, to, "config.json"), r"no config")


def _overlap(header: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in header if name != "__metadata__"]
    return header | {names[0]: header[names[0]] | {"data_offsets": header[names[1]]["data_offsets"]}}


def _beyond(header: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in header if name != "__metadata__")
    return header | {name: header[name] | {"data_offsets": [0, 2**40]}}


def _renamed(base: Path, to: Path, name: str) -> Path:
    _copy(base, to)
    (to / "model.safetensors").rename(to / name)
    return to


def _pickle_in_disguise(base: Path, to: Path) -> Path:
    _copy(base, to)
    (to / "model.safetensors").write_bytes(pickle.dumps(Bomb(went_off(to))))
    return to


def _pickle_only(base: Path, to: Path) -> Path:
    _without(base, to, "model.safetensors")
    (to / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(went_off(to))))
    return to


def _adapter(base: Path, to: Path) -> Path:
    _copy(base, to)
    (to / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(base)}))
    return to


def _pipe(base: Path, to: Path) -> Path:
    _without(base, to, "model.safetensors")
    os.mkfifo(to / "model.safetensors")
    return to


def _weights_folder(base: Path, to: Path) -> Path:
    _without(base, to, "model.safetensors")
    (to / "model.safetensors").mkdir()
    return to


def _indexed(weight_map: Callable[[Path, list[str]], Any], base: Path, to: Path) -> Path:
    """The folder with its weights in `a.safetensors` and an index that says where each tensor is; a pickle lies beside."""
    from safetensors.torch import load_file

    _renamed(base, to, "a.safetensors")
    (to / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(went_off(to))))
    names = list(load_file(to / "a.safetensors"))
    (to / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map(to, names)}))
    return to


def _indices() -> Iterator[Case]:
    def everywhere(file: str) -> Callable[[Path, list[str]], dict[str, str]]:
        return lambda to, names: dict.fromkeys(names, file)

    yield Case("sound index", partial(_indexed, everywhere("a.safetensors")), None)
    yield Case("index to a pickle", partial(_indexed, everywhere("pytorch_model.bin")), r"no safetensors file")
    yield Case("index to the parent", partial(_indexed, everywhere("../base/model.safetensors")), r"outside its folder")
    yield Case("index to a pickle far away", partial(_indexed, everywhere("../../pytorch_model.bin")), r"outside its folder")
    yield Case("index to /dev/zero", partial(_indexed, everywhere("/dev/zero")), r"outside its folder")
    yield Case("index to a file that is missing", partial(_indexed, everywhere("b.safetensors")), r"incomplete")
    yield Case("index to numbers", partial(_indexed, lambda to, names: dict.fromkeys(names, 5)), r"no weight_map")
    yield Case("index to nothing", partial(_indexed, lambda to, names: {}), r"no weight_map")
    yield Case("index of a list", partial(_indexed, lambda to, names: names), r"no weight_map")
    yield Case("index of brackets", _bracket_index, r"nested too deep")
    yield Case("index to two files with the same tensors", _same_twice, r"another weights file too")
    yield Case("half of an index", _half_index, r"missing")


def _bracket_index(base: Path, to: Path) -> Path:
    _indexed(lambda _, names: {}, base, to)
    (to / "model.safetensors.index.json").write_text("[" * 100_000)
    return to


def _same_twice(base: Path, to: Path) -> Path:
    def both(folder: Path, names: list[str]) -> dict[str, str]:
        shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
        return {name: "ab"[index % 2] + ".safetensors" for index, name in enumerate(names)}

    return _indexed(both, base, to)


def _half_index(base: Path, to: Path) -> Path:
    from safetensors.torch import load_file, save_file

    _indexed(lambda folder, names: dict.fromkeys(names, "a.safetensors"), base, to)
    tensors = load_file(to / "a.safetensors")
    save_file(dict(list(tensors.items())[::2]), to / "a.safetensors", metadata={"format": "pt"})
    return to


def _configs() -> Iterator[Case]:
    def config(name: str, refusal: str | None, **values: Any) -> Case:
        return Case(name, partial(_configure, values), refusal)

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
    yield Case("config of brackets", partial(_raw_config, b"[" * 100_000), r"nested too deep")
    yield Case("config of deep tables", partial(_raw_config, b'{"a":' * 500 + b"1" + b"}" * 500), r"nested deeper")
    yield Case("config of 5,000 digits", partial(_raw_config, b'{"model_type": "llama", "vocab_size": ' + b"9" * 5000 + b"}"), r"digits")
    yield Case("config a list", partial(_raw_config, b"[]"), r"no table")
    yield Case("config not JSON", partial(_raw_config, b"{"), r"is not JSON")
    yield Case("config not text", partial(_raw_config, b"\xff\xfe\x00\xd8" * 9), r"is not JSON")
    yield Case("config empty", partial(_raw_config, b""), r"is not JSON")
    yield Case("config an empty table", partial(_raw_config, b"{}"), r"no model_type")
    yield Case("config a folder", _config_folder, r"no config")
    yield Case("config a pipe", _config_pipe, r"no config")


def _config_folder(base: Path, to: Path) -> Path:
    _without(base, to, "config.json")
    (to / "config.json").mkdir()
    return to


def _config_pipe(base: Path, to: Path) -> Path:
    _without(base, to, "config.json")
    os.mkfifo(to / "config.json")
    return to


def write_gguf(
    to: Path,
    *,
    blocks: int = LAYERS,
    stored_blocks: int = LAYERS,
    leave_out: str = "",
    extra: str = "",
    keys: dict[str, int] | None = None,
    architecture: str = "llama",
) -> Path:
    """A Llama as llama.cpp would write it, with its vocabulary."""
    import numpy as np
    from gguf import GGUFWriter

    draw = np.random.default_rng(0)
    path = to.with_suffix(".gguf")
    writer = GGUFWriter(path, architecture)
    numbers = {
        "block_count": blocks, "embedding_length": WIDTH, "feed_forward_length": 24, "context_length": 32, "attention.head_count": 2,
        "attention.head_count_kv": 2, "vocab_size": VOCABULARY,
    }  # fmt: skip
    for key, value in (numbers | (keys or {})).items():
        writer.add_uint64(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([chr(65 + index) for index in range(VOCABULARY - 1)] + ["AB"])
    writer.add_token_merges(["A B"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    shapes = {"token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,), "output": (VOCABULARY, WIDTH)}
    for block in range(stored_blocks):
        square = {f"blk.{block}.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
        norms = {f"blk.{block}.{part}_norm": (WIDTH,) for part in ("attn", "ffn")}
        wide = {f"blk.{block}.ffn_gate": (24, WIDTH), f"blk.{block}.ffn_up": (24, WIDTH), f"blk.{block}.ffn_down": (WIDTH, 24)}
        shapes |= square | norms | wide
    for name, shape in shapes.items():
        if name != leave_out:
            writer.add_tensor(f"{name}.weight", draw.normal(size=shape).astype(np.float32))
    if extra:
        writer.add_tensor(extra, draw.normal(size=(WIDTH,)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_bytes(change: Callable[[bytes], bytes], base: Path, to: Path) -> Path:
    path = write_gguf(to)
    path.write_bytes(change(path.read_bytes()))
    return path


def _ggufs() -> Iterator[Case]:
    def gguf(name: str, refusal: str | None, **options: Any) -> Case:
        return Case(f"GGUF: {name}", lambda base, to: write_gguf(to, **options), refusal)

    def raw(name: str, refusal: str, change: Callable[[bytes], bytes]) -> Case:
        return Case(f"GGUF: {name}", partial(_gguf_bytes, change), refusal)

    yield gguf("sound", None)
    yield gguf("without a tensor", r"missing.*q_proj", leave_out="blk.1.attn_q")
    yield gguf("without a norm", r"missing.*norm", leave_out="output_norm")
    yield gguf("one block over four", r"27 tensors .*no place", blocks=1)
    yield gguf("eight blocks over four", r"missing", blocks=8)
    yield gguf("two blocks of four", r"missing", stored_blocks=2)
    yield gguf("extra tensor", r"no place.*rope_freqs", extra="rope_freqs.weight")
    yield gguf("extra tensor of no name", r"no place.*mystery", extra="mystery.weight")
    yield gguf("a billion blocks", r"more than any model|files hold", blocks=10**9)
    yield gguf("width of 10**12", r"files hold", keys={"embedding_length": 10**12})
    yield gguf("no heads", r"cannot read|configuration", keys={"attention.head_count": 0})
    yield gguf("vocabulary of 2**60", r"files hold|cannot", keys={"vocab_size": 2**60})
    yield gguf("unknown architecture", r"cannot read", architecture="nonesuch")
    yield raw("cut in half", r"cut short", lambda content: content[: len(content) // 2])
    yield raw("cut in the header", r"cut short", lambda content: content[:200])
    yield raw("magic alone", r"cut short", lambda content: content[:4])
    yield raw("not one", r"not a GGUF", lambda content: b"<html>" + content)
    yield raw("version 99", r"version 99", lambda content: content[:4] + struct.pack("<I", 99) + content[8:])
    yield raw("2**60 tensors", r"counts", lambda content: content[:8] + struct.pack("<Q", 2**60) + content[16:])
    yield raw("2**60 keys", r"counts", lambda content: content[:16] + struct.pack("<Q", 2**60) + content[24:])
    yield raw("a key of 2**60 bytes", r"cut short", lambda content: content[:24] + struct.pack("<Q", 2**60) + content[32:])
    yield raw("random bytes", r"damaged|cut short|cannot|counts", lambda content: content[:24] + bytes(range(256)) * 64)
