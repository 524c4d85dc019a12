"""A model's config.json: read within bounds, of the right types, and never taken at its word about sizes or about whose code to run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError
from interp_tui_engine.trust import HINT

_MAX_CONFIG = 16 << 20
_LARGEST = 1 << 24
"""An integer in a configuration may be this large whatever the size of the model: positions, for instance, need no weights."""
_MOST_BUFFER_BYTES = 8 << 30
_NOT_PASSED_ON = (
    "_attn_implementation", "attn_implementation", "_experts_implementation", "experts_implementation",  # may name code to fetch and run
    "transformers_weights", "fusion_config", "distributed_config",  # what is read and how it is run is decided here
    "auto_map", "custom_pipelines",
)  # fmt: skip
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_LOOPED = re.compile("layer|block|head|expert|group")
_MOST_LOOPED = 100_000
"""Layers, heads, experts: building a model takes a step, or a module, for each."""


def read_config(source: str, folder: Path) -> dict[str, Any]:
    """The folder's config.json. UserError where there is none, or none that is a table."""
    path = folder / "config.json"
    if not path.is_file():
        ggufs = sorted(entry.name for entry in folder.glob("*.gguf"))
        raise UserError(
            f"{source} holds no config.json",
            f"name the file itself: {ggufs[0]}" if ggufs else "expected a folder written by save_pretrained",
        )
    try:
        config = untrusted.read_json(path, _MAX_CONFIG)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is {error}", "fetch it again") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a model's configuration: it holds no table", "fetch it again")
    return config


def check_causal(source: str, config: Mapping[str, Any], *, trust: bool) -> None:
    """Raise UserError unless a configuration is that of a model which predicts the next token."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    model_type = config.get("model_type")
    if model_type is not None and not isinstance(model_type, str):
        raise UserError(f"{source}: model_type in config.json is {model_type!r:.80}, not a name", "fetch it again")
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"{source}: architectures in config.json is {named!r:.80}, not a list of names", "fetch it again")
    if "auto_map" in config:
        if not trust and model_type not in CAUSAL:
            raise UserError(f"{source} runs code of its own to load", f"{HINT} runs it: read that code first")
        return
    if model_type is None:
        raise UserError(f"{source}: config.json names no model_type", "expected a folder written by save_pretrained")
    architectures = named or [CAUSAL.get(model_type, f"a {model_type} model")]
    if not set(architectures) & set(CAUSAL.values()):
        raise UserError(
            f"{source} is no causal language model, but {', '.join(architectures)[:200]}",
            "choose one whose architecture ends in ForCausalLM",
        )


def build(source: str, folder: Path, config: Mapping[str, Any], *, trust: bool) -> Any:
    """The transformers configuration of a config.json, without what could choose other files or code than ours.

    Raises UserError for a family that transformers does not know and for values that it refuses.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    _check_counts(source, config)
    try:
        if "auto_map" in config and trust:
            return AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
        if config["model_type"] not in CONFIG_MAPPING:
            raise ValueError(f"transformers knows no model_type {config['model_type']!r:.80}")
        return CONFIG_MAPPING[config["model_type"]].from_dict(_cleaned(config))
    except Exception as error:  # each family checks its values in its own way
        raise UserError(f"{source}: config.json cannot be used ({_first_line(error)})", "fetch it again") from None


def check_sizes(source: str, built: Any, shapes: Mapping[str, tuple[int, ...]], *, partial: bool) -> None:
    """Raise UserError for a configuration of a model much larger than its files, before any of it is built.

    `shapes` are those of the tensors in the files. Nothing is allocated: the model is laid out on the meta device.
    """
    stored = sum(_product(shape) for shape in shapes.values())
    for key, value in _integers(built.to_dict()):
        if abs(value) > max(_LARGEST, stored):
            raise UserError(
                f"{source}: {key} = {value!r:.40} in its configuration, but its files hold {stored:,} numbers", "fetch it again"
            )
    for name in _LAYERS:
        layers = getattr(built, name, None)
        if isinstance(layers, int) and layers > max(1, len(shapes)) and not partial:
            raise UserError(
                f"{source}: {name} = {layers:,} in its configuration, but its files hold {len(shapes):,} tensors", "fetch it again"
            )
    module = lay_out(source, built)
    prefix = getattr(module, "base_model_prefix", "")
    if twice := sorted(name for name in shapes if prefix and f"{prefix}.{name}" in shapes):
        raise UserError(f"{source}: its files hold {twice[0]!r} and {prefix}.{twice[0]!r}, two weights for one place", "fetch them again")
    parameters = sum(parameter.numel() for parameter in module.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in module.buffers())
    if buffers > _MOST_BUFFER_BYTES:
        raise UserError(f"{source}: its configuration asks for tables of {buffers / 2**30:,.0f} GiB beside the weights", "fetch it again")
    if partial:
        if 4 * parameters > psutil.virtual_memory().available:
            raise UserError(f"{source}: its configuration describes {parameters:,} parameters, more than memory holds", "use a smaller one")
        return
    packed = (
        16 if getattr(built, "quantization_config", None) else 2
    )  # tied weights are stored once; four-bit integers are stored eight to a number
    if parameters > packed * stored:
        raise UserError(
            f"{source}: its configuration describes a model of {parameters:,} parameters, but its files hold {stored:,} numbers",
            "fetch the folder again",
        )


def lay_out(source: str, built: Any) -> nn.Module:
    """The model that a configuration describes, on the meta device: names and shapes without memory. Raises UserError."""
    from transformers import AutoModelForCausalLM

    _check_counts(source, built.to_dict())
    try:
        with torch.device("meta"):
            module: nn.Module = AutoModelForCausalLM.from_config(built, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # each family fails on odd values in its own way
        raise UserError(f"{source}: no model can be built from its configuration ({_first_line(error)})", "fetch it again") from None
    return module


def _check_counts(source: str, config: Mapping[str, Any]) -> None:
    """Raise UserError for more layers, heads or experts than building could get through."""
    for key, value in _integers(config):
        if value > _MOST_LOOPED and _LOOPED.search(key):
            raise UserError(f"{source}: {key} = {value!r:.40} in its configuration is more than any model has", "fetch it again")


def _cleaned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _cleaned(inner) for key, inner in value.items() if key not in _NOT_PASSED_ON}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value


def _integers(value: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Every integer of a configuration with its key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _integers(inner, f"{path}.{key}"[:200].lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner, path)
    elif isinstance(value, int):
        yield path, value


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _first_line(error: Exception) -> str:
    """The first words of an error that may be many lines long, or whose first line is only a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])[:300] or type(error).__name__
