"""Is it the same estimate? LLC of the same model on the same data and settings, ours and devinterp's.

Both sides sample `builtin:tiny` (or, while there is none, random weights of its shape) on the same rows in the same order, without
dropout and without burn-in. Two comparisons for each sampler:

same noise      our chains are fed the normal numbers that devinterp draws, so that both walk the same path; the losses of every step must
                then agree to rounding, and the LLCs to far less than their standard error.
own noise       each side draws its own. The difference of the LLCs, in units of the two runs' combined standard error (over chains), is
                a draw from Student's t: about 1 in size, above 2.2 once in twenty.

Not part of the test suite: it takes minutes and the peer's environment.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from . import shapes, side
from .figures import Figure

_BASE = {"lr": 1e-4, "n_beta": 30.0, "localization": 100.0, "batch_size": 16, "num_init_loss_batches": 16, "init_seed": 100}
CASES: dict[str, dict[str, Any]] = {
    "SGLD": _BASE,
    "SGLD, decay + box": {**_BASE, "lr": 3e-4, "llc_weight_decay": 10.0, "bounding_box_size": 0.05},
    "RMSprop-SGLD": {**_BASE, "lr": 1e-5, "sampling_method": "rmsprop_sgld"},
}
ROUNDING = 1e-4
"""Nats a per-step mean loss may differ by when both sides walk the same path. A token's loss carries a few float32 roundings of logits of
size ten (1e-6 each); steps feed them back, but localisation contracts the path, so they do not grow beyond some tens of that."""


def run(quick: bool) -> dict[str, Any]:
    """All cases; each figure's note holds the two LLCs with their standard errors."""
    folder, rows, what = model_and_rows()
    chains, draws = (4, 20) if quick else (8, 100)
    figures, kept = [], {}
    with side.ours() as ours, side.devinterp() as peer:
        for name, case in CASES.items():
            settings = {**case, "num_chains": chains, "num_draws": draws}
            theirs = peer.ask("traces", model=str(folder), rows=str(rows), settings=settings)
            same = ours.ask("traces", model=str(folder), rows=str(rows), settings=settings, peer_noise=True)
            own = ours.ask("traces", model=str(folder), rows=str(rows), settings=settings)
            figures += _figures(name, what, theirs, same, own)
            kept[name] = {"devinterp": theirs, "ours, same noise": same, "ours, own noise": own}
    return {"figures": figures, "rounds": kept}


def _figures(name: str, what: str, theirs: dict[str, Any], same: dict[str, Any], own: dict[str, Any]) -> list[Figure]:
    apart = np.abs(np.array(same["trace"]) - np.array(theirs["trace"]))
    walked = np.abs(np.array(theirs["trace"]) - theirs["init"]).max()
    return [
        Figure(
            f"{name}: same noise, largest difference of a step's loss",
            float(apart.max()),
            "nats",
            target=f"≤ {ROUNDING}",
            note=f"loss moves by up to {walked:.3f}; {what}",
        ),
        Figure(f"{name}: same noise, LLC difference", _difference(same, theirs), "combined s.e.", target="≤ 1", note=_pair(same, theirs)),
        Figure(f"{name}: own noise, LLC difference", _difference(own, theirs), "combined s.e.", target="≤ 2.2", note=_pair(own, theirs)),
    ]


def _error(run: dict[str, Any]) -> float:
    return stdev(run["llc"]) / math.sqrt(len(run["llc"]))


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return abs(mean(ours["llc"]) - mean(theirs["llc"])) / math.hypot(_error(ours), _error(theirs))


def _pair(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    return f"ours {mean(ours['llc']):.3f} ± {_error(ours):.3f}, devinterp {mean(theirs['llc']):.3f} ± {_error(theirs):.3f}"


def model_and_rows() -> tuple[Path, Path, str]:
    """A saved model and rows of tokens that both sides read."""
    from interp_tui_engine.errors import UserError

    folder = side.SCRATCH / "agreement"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        model, ids, what = _builtin()
    except UserError as error:
        print(f"builtin:tiny is not there ({error}); random weights instead")
        shape = shapes.SHAPES["tiny"]
        model, what = shapes.build(shape), "random weights"
        ids = shapes.random_rows(shape.config["vocab_size"])[:]["input_ids"]
    model.save_pretrained(folder / "model")
    torch.save(ids, folder / "rows.pt")
    return folder / "model", folder / "rows.pt", what


def _builtin() -> tuple[Any, torch.Tensor, str]:
    from interp_tui_engine import load_model, load_rows
    from interp_tui_engine.specs import DataSpec

    loaded = load_model("builtin:tiny", device="cpu", dtype="float32")
    rows = load_rows(DataSpec(source="builtin:prose", context=shapes.POSITIONS, rows=512), loaded.tokenizer, name="train")
    return loaded.module, rows.ids.long(), "builtin:tiny"
