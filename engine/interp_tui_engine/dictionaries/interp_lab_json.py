"""interp-lab's own dictionary file, sae.json (format interp-lab.sae.v1), as a dictionary of ours.

There z = act(W_enc (x − mean) + b_enc), x̂ = z W_dec + mean, rows being latents in both matrices: our form, with b_dec the mean. Its layer
L is hidden_states[L], the output of block L − 1; its last one was read after the final norm, and so fits no site here exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import atomic, untrusted
from ..errors import UserError
from .dictionary import Dictionary
from .registry import stored_as
from .weights import Weights

FORMAT = "interp-lab.sae.v1"
MATRICES = {"encoder_weight": "encoder", "decoder_weight": "decoder"}
VECTORS = {"encoder_bias": "b_enc", "mean": "b_dec"}


def load_json(path: Path, *, device: torch.device | str = "cpu") -> Dictionary:
    """Read a sae.json. Raises UserError for a file that is none, for shapes that do not fit and values that are not finite."""
    try:
        stored = untrusted.read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise UserError(f"{path} is no dictionary", f"a file of interp-lab's says format = {FORMAT!r}; one of ours is a folder")
    width, latents = (_whole(path, stored, key) for key in ("input_dim", "latent_dim"))
    shapes = {**dict.fromkeys(MATRICES, (latents, width)), "encoder_bias": (latents,), "mean": (width,)}
    named = {ours: _tensor(path, stored, name, shapes[name]) for name, ours in {**MATRICES, **VECTORS}.items()}
    settings = stored.get("config")
    stored_name, config, threshold = _sparsity(settings if isinstance(settings, Mapping) else {}, latents)
    architecture = stored_as(stored_name)[0].restored({"architecture": stored_name, "d_sae": latents, **config}, {})
    assert architecture is not None
    if threshold is not None:
        named["threshold"] = torch.full((latents,), threshold)
    return Dictionary(architecture, Weights(**named), _about(stored)).to(device)


def _whole(path: Path, stored: Mapping[str, Any], key: str) -> int:
    value = stored.get(key)
    if type(value) is not int or value < 1:
        raise UserError(f"{path}: {key} = {value!r:.40}", f"{key} must be a whole number above 0")
    return value


def _tensor(path: Path, stored: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    try:
        tensor = torch.tensor(stored.get(name), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{path}: {name} is no table of numbers") from None
    if tuple(tensor.shape) != shape:
        raise UserError(f"{path}: {name} is {tuple(tensor.shape)}, but input_dim and latent_dim make it {shape}")
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(f"{path}: {name} holds values that are not finite", "the training of this dictionary has failed")
    return tensor


def _sparsity(settings: Mapping[str, Any], latents: int) -> tuple[str, dict[str, Any], float | None]:
    """SAE Lens's name of the architecture, its settings, and jumprelu's threshold."""
    kind, k = str(settings.get("sparsity", "relu-l1")).lower(), settings.get("top_k")
    if kind == "jumprelu":
        return "jumprelu", {}, float(settings.get("jump_threshold") or 0.0)
    if kind == "topk" and isinstance(k, int) and 0 < k < latents:
        return "topk", {"k": k}, None
    return "standard", {}, None


def _about(stored: Mapping[str, Any]) -> dict[str, Any]:
    layer = stored.get("layer")
    place = {"hook_name": f"blocks.{layer - 1}.hook_resid_post"} if isinstance(layer, int) and layer >= 1 else {}
    return {"model_name": str(stored.get("model", "")), **place, "layer_convention": "hidden_state_index"}


def save_json(dictionary: Dictionary, path: Path, *, method: str = "torch", metrics: Mapping[str, Any] | None = None) -> None:
    """Write a dictionary as interp-lab reads it. method, metrics: what the file says of the training.

    Raises UserError for architectures that its form cannot hold: gated ones, and thresholds that differ from latent to latent.
    """
    weights, layer = dictionary.weights, layer_of(dictionary.about)
    stored = {
        "format": FORMAT,
        "model": str(dictionary.about.get("model_name", "")),
        "source": {"kind": "hf-hidden-state"} if layer is not None else {},
        "layer": layer,
        "input_dim": weights.width,
        "latent_dim": weights.latents,
        "source_feature_ids": [f"H{layer or 0}:D{place}" for place in range(weights.width)],
        "method": method,
        "metrics": dict(metrics or {}),
        "config": _settings(dictionary),
        **{theirs: getattr(weights, ours).tolist() for theirs, ours in {**MATRICES, **VECTORS}.items()},
    }
    atomic.write_json(path, stored)


def layer_of(about: Mapping[str, Any]) -> int | None:
    """interp-lab's number of the hidden state that a dictionary reads; None where it reads no block's output."""
    parts = str(about.get("hook_name", "")).split(".")
    return int(parts[1]) + 1 if len(parts) == 3 and parts[1].isdigit() and parts[2] == "hook_resid_post" else None


def _settings(dictionary: Dictionary) -> dict[str, Any]:
    stored, threshold = dictionary.architecture.stored_as, dictionary.weights.threshold
    if stored == "standard":
        return {"sparsity": "relu-l1"}
    if stored == "topk":
        return {"sparsity": "topk", "top_k": int(dictionary.architecture.stored_settings()["k"])}
    if stored == "jumprelu" and threshold is not None and bool((threshold == threshold.flatten()[0]).all()):
        return {"sparsity": "jumprelu", "jump_threshold": float(threshold.flatten()[0])}
    what = "thresholds that differ from latent to latent" if stored == "jumprelu" else f"a {stored} dictionary"
    raise UserError(f"interp-lab's sae.json cannot hold {what}", "give out a folder: it gets the layout of SAE Lens")
