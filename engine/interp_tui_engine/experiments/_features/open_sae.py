"""Opening dictionaries for the kinds that use them. Imports torch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...dictionaries.dictionary import Dictionary
from ...dictionaries.interp_lab_json import load_json
from ...dictionaries.sae_lens import load
from ...errors import UserError
from ...sites.site import Site, parse
from . import sae_folder


def open_sae(path: Path, device: torch.device | str, *, width: int | None = None, name: str | None = None) -> Dictionary:
    """The dictionary in a folder of its own, of a train_sae run (`name` picks one where it trained several), or interp-lab's sae.json.

    `width` is that of the activations it is meant for. Raises UserError where there is none, several, or one of another width.
    """
    folder = sae_folder(path, name)
    dictionary = load_json(folder, device=device) if folder.suffix == ".json" else load(folder, device=device)
    if width is not None and dictionary.weights.width != width:
        trained = (
            f"; it was trained at {where} of {dictionary.about.get('model_name', 'another model')}"
            if (where := site_of(dictionary))
            else ""
        )
        raise UserError(
            f"{folder} is for activations of width {dictionary.weights.width}, but these have {width}{trained}", "use it where it fits"
        )
    return dictionary


def repeats_of(path: Path, name: str | None) -> torch.Tensor | None:
    """Each latent's cosine with its like from another start; None where the dictionary was trained from one, or its file is of no use."""
    try:
        return load_file(sae_folder(path, name) / "repeats.safetensors").get("cosine")
    except (OSError, SafetensorError):
        return None


def site_of(dictionary: Dictionary) -> Site | None:
    """Where the dictionary was trained, if its file says so in our words or in SAE Lens's hook names."""
    stated = dictionary.about.get("site")
    if isinstance(stated, str):
        return parse(stated)
    hook = dictionary.about.get("hook_name")
    if not isinstance(hook, str):
        return None
    if hook == "hook_embed":
        return Site("embed")
    parts = hook.split(".")
    if len(parts) < 3 or parts[0] != "blocks" or not parts[1].isdigit():
        return None
    name = {"mlp.hook_post": "mlp_post"}.get(".".join(parts[2:]), parts[-1].removeprefix("hook_"))
    try:
        return Site(name, int(parts[1]))
    except UserError:
        return None
