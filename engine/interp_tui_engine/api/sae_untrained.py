"""`train_sae(method="fallback")`: interp-lab's dictionary without training, from activation records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import atomic
from ..dictionaries import sae_lens
from ..dictionaries.dictionary import Dictionary
from ..dictionaries.names import Sparsity
from ..dictionaries.registry import build
from ..dictionaries.variance_axes import held_out, variance_axes
from ..errors import UserError
from .sae_prompts import rows_of, sampled

EXPANSION = {"minimal": 1.0, "production": 4.0, "fast": 8.0}
"""Latents as a multiple of the width, by preset."""


def axes_dictionary(
    records: Path,
    folder: Path,
    *,
    preset: str,
    latents: int | None,
    expansion: float | None,
    l1: float,
    architecture: str,
    k: int,
    validation: float,
    model: str | None,
    max_records: int | None,
    seed: int,
) -> Dictionary:
    """Make the dictionary of a record file and save it into `folder`, with its numbers in result.json.

    Raises UserError for a file of fewer than two rows, and for an architecture that needs training.
    """
    if architecture not in ("relu", "topk"):
        raise UserError(f"method = 'fallback' makes no {architecture} dictionary", "sparsity = 'relu-l1' or 'topk'; others are trained")
    rows = sampled(rows_of(records, model), max_records, seed)
    x_ND = rows.values
    if len(x_ND) < 2:
        raise UserError(f"{records} holds {len(x_ND)} activations", "two are needed: one is held out")
    count = latents or max(1, round(x_ND.shape[1] * (expansion or EXPANSION[preset])))
    weights = variance_axes(x_ND.astype(np.float64), count, l1=l1, share=validation, seed=seed)
    about = {"model_name": rows.model} | ({} if rows.layer is None else {"hook_name": f"blocks.{rows.layer}.hook_resid_post"})
    sparse = Sparsity(min(k, count), l1, 1.0, 2.0, 1.0, 1, {})
    dictionary = Dictionary(build(architecture, count, sparse), weights, about)
    sae_lens.save(dictionary, folder)
    atomic.write_json(folder / "result.json", {"method": "fallback", "latents": count, **_numbers(dictionary, x_ND, validation, seed)})
    return dictionary


def _numbers(dictionary: Dictionary, x_ND: Any, validation: float, seed: int) -> dict[str, Any]:
    """On the rows held out, or on all where none are: the share of variance that is missed, and how many latents fire."""
    rows = held_out(len(x_ND), validation, seed)[1] or list(range(len(x_ND)))
    x = torch.from_numpy(x_ND[rows])
    codes, missed = dictionary.encode(x), x - dictionary.reconstruct(x)
    spread = float((x - dictionary.weights.b_dec).square().sum())
    fires = (dictionary.encode(torch.from_numpy(x_ND)) > 1e-6).float()
    return {
        "fvu": float(missed.square().sum()) / spread if spread else None,
        "l0": float((codes > 1e-6).float().sum(1).mean()),
        "dead_fraction": float((fires.sum(0) == 0).float().mean()),
    }
