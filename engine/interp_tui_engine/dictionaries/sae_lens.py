"""Dictionaries as files in the layout of SAE Lens: cfg.json beside sae_weights.safetensors.

Tensors there: W_enc (D, M), W_dec (M, D), b_dec (D); b_enc (M); jumprelu also threshold (M); gated b_gate, r_mag, b_mag instead of b_enc.
BatchTopK and Matryoshka are stored as what they are at use, jumprelu. What only training knew stands under metadata.interp_tui.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .. import atomic, untrusted
from ..errors import UserError
from .architecture import Architecture
from .dictionary import Dictionary
from .registry import layouts, stored_as
from .weights import Weights

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
LAYOUT = "6.54.12"
"""The SAE Lens whose layout is written; without it SAE Lens takes the file for one from before its version 6."""


def save(dictionary: Dictionary, folder: Path) -> None:
    """Write the dictionary into `folder`: weights first, then cfg.json, so that a folder with a cfg.json is whole."""
    weights, architecture = dictionary.weights, dictionary.architecture
    ours = weights.named()
    tensors = {theirs: ours[name].detach().float().cpu() for theirs, name in architecture.tensors.items()}
    tensors["W_enc"] = tensors["W_enc"].T
    folder.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(folder / WEIGHTS) as beside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside)
    config: dict[str, Any] = {
        "architecture": architecture.stored_as,
        "d_in": weights.width,
        "d_sae": weights.latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT, "sae_lens_training_version": None, **dictionary.about},
    }
    atomic.write_json(folder / CONFIG, config | architecture.stored_settings())


def load(folder: Path, *, device: torch.device | str = "cpu") -> Dictionary:
    """Read a dictionary that this engine or SAE Lens has saved.

    Raises UserError for a folder without one, an architecture or an option that cannot be read, and tensors that do not fit or are not
    finite.
    """
    config = _config(folder)
    stored = config.get("architecture", "standard")
    if stored not in layouts():
        raise UserError(f"{folder / CONFIG}: architecture {stored!r} cannot be read", f"those that can: {', '.join(layouts())}")
    _refuse_options(folder, config)
    architecture = _architecture(folder, stored, config)
    weights = _weights(folder, config, architecture.tensors)
    if not config.get("apply_b_dec_to_input", True):
        # there h = W x + b; here h = W(x - b_dec) + b, the same with b + W b_dec
        shift = weights.encoder @ weights.b_dec
        named = weights.named() | {"b_enc": weights.b_enc + shift}
        if weights.r_mag is not None and weights.b_mag is not None:
            named["b_mag"] = weights.b_mag + weights.r_mag.exp() * shift
        weights = Weights(**named)
    if config.get("rescale_acts_by_decoder_norm"):
        norm = weights.decoder.norm(dim=1)
        named = weights.named()
        weights = Weights(
            **named
            | {"encoder": weights.encoder * norm[:, None], "b_enc": weights.b_enc * norm, "decoder": weights.decoder / norm[:, None]}
        )
    about = config.get("metadata") or {key: config[key] for key in ("model_name", "hook_name", "context_size") if key in config}
    return Dictionary(architecture, weights, about).to(device)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"no dictionary in {folder}", f"it must hold {CONFIG} and {WEIGHTS}, as train_sae and SAE Lens write them")
    try:
        config = untrusted.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: a {type(config).__name__}, not an object")
    for key in ("d_in", "d_sae"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise UserError(f"{path}: {key} = {config.get(key)!r}", f"{key} must be a whole number above 0")
    return config


def _refuse_options(folder: Path, config: Mapping[str, Any]) -> None:
    for key, plain in (("normalize_activations", "none"), ("reshape_activations", "none"), ("finetuning_scaling_factor", False)):
        value = config.get(key, plain)
        if value not in (plain, None, False) and not (key == "reshape_activations" and value == "hook_z"):
            raise UserError(
                f"{folder / CONFIG}: {key} = {value!r} cannot be used", f"save it with {key} = {plain!r}, folded into the weights"
            )


def _weights(folder: Path, config: Mapping[str, Any], names: Mapping[str, str]) -> Weights:
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no safetensors file: {error}") from None
    width, latents = config["d_in"], config["d_sae"]
    shapes = {"W_enc": (width, latents), "W_dec": (latents, width), "b_dec": (width,)}
    named = {}
    for theirs, ours in names.items():
        if theirs not in tensors:
            raise UserError(f"{path} has no tensor {theirs}", f"it holds {', '.join(sorted(tensors))}")
        tensor, shape = tensors[theirs].float(), shapes.get(theirs, (latents,))
        if tuple(tensor.shape) != shape:
            raise UserError(f"{path}: {theirs} is {tuple(tensor.shape)}, but cfg.json's d_in = {width}, d_sae = {latents} make it {shape}")
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: {theirs} holds values that are not finite", "the training of this dictionary has failed")
        named[ours] = tensor.T.contiguous() if theirs == "W_enc" else tensor
    return Weights(**named)


def _architecture(folder: Path, stored: str, config: Mapping[str, Any]) -> Architecture:
    """The architecture that our own record in the file names, else the one that is read from what SAE Lens calls it."""
    metadata = config.get("metadata")
    record = metadata.get("interp_tui") if isinstance(metadata, Mapping) else None
    ours: Mapping[str, Any] = record if isinstance(record, Mapping) else {}
    candidates = stored_as(stored)
    for architecture in [*(candidate for candidate in candidates if candidate.name == ours.get("architecture")), candidates[0]]:
        try:
            if (restored := architecture.restored(config, ours)) is not None:
                return restored
        except ValueError as error:
            raise UserError(f"{folder / CONFIG}: {error}") from None
    raise UserError(f"{folder / CONFIG}: architecture {stored!r} cannot be read as it stands")
