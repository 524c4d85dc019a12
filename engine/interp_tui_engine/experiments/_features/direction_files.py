"""Vectors of a .safetensors file, or of the run that keeps one: the one reader of direction files. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import UserError
from . import direction_file


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file by name. Raises UserError where it is none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} is no file of directions: {error}", "give a probe or contrast run that is done, or a .safetensors of vectors by id"
        ) from None


def unit_vectors(given: str, widths: dict[str, int]) -> dict[str, Float[Tensor, " D"]]:
    """The directions of a contrast run or of a file by name, each scaled to unit length, float32.

    widths: how many numbers a direction must have, by the site that asks. Raises UserError for a folder or file without directions, and for
    a vector that is of another width, zero or not finite.
    """
    path = direction_file(given)
    vectors = read_tensors(path)
    if not vectors:
        raise UserError(f"{path} holds no vectors", "give a contrast run that is done, or a .safetensors of vectors by id")
    for name, vector in vectors.items():
        for site, width in widths.items():
            if vector.shape != (width,):
                what = f"{path}: {name!r:.60} has shape {tuple(vector.shape)}, but {site} has width {width}"
                raise UserError(what, "a direction is one vector; was it fitted on another model?")
        if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise UserError(f"{path}: {name!r:.60} is zero or not finite", "a direction needs a length")
    return {name: vector.float() / vector.float().norm() for name, vector in vectors.items()}


def stacked(vectors: Sequence[Float[Tensor, " D"]], device: torch.device) -> Float[Tensor, "F D"]:
    """Vectors as the rows of one matrix on the model's device."""
    return torch.stack(list(vectors)).to(device)
