"""interp-lab's `train_sae` on this engine: a run, whose folder holds the dictionary in the layout of SAE Lens, its numbers and its report.

done = train_sae(hf_model="builtin:tiny", dataset="prompts.jsonl", layer=2, latent_dim=256, top_k=16, out="runs/sae")
done.artifact_path, done.values["fvu"]
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import atomic
from ..errors import UserError
from ..events import Stamped
from .sampling import run

OnEvent = Callable[[Stamped], None]
SPARSITY = {"relu-l1": "relu", "topk": "topk", "jumprelu": "jumprelu"}
"""interp-lab's names; ours are taken too."""
DEFAULT_K = 32
"""Latents that fire for an input where none says how many; of a smaller dictionary all may."""


@dataclass(frozen=True)
class SaeTrainingResult:
    """A finished train_sae run: the dictionary's folder, the records of its latents where they were asked for, and the run's folder."""

    artifact_path: Path
    records_path: Path | None
    folder: Path

    @property
    def values(self) -> Mapping[str, Any]:
        """result.json: fvu, l0, dead_fraction, ce_loss_recovered, …"""
        return dict(atomic.read_json(self.folder / "result.json"))


def train_sae(
    *,
    out: str | Path,
    records: str | Path | None = None,
    model: str | None = None,
    hf_model: str | None = None,
    dataset: str | Path | None = None,
    records_out: str | Path | None = None,
    preset: Literal["fast", "minimal", "production"] = "minimal",
    layer: int | None = None,
    latent_dim: int | None = None,
    expansion_factor: float | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    l1: float | None = None,
    sparsity: str | None = None,
    top_k: int | None = None,
    validation_fraction: float | None = None,
    token_mode: Literal["all", "last"] | None = None,
    seed: int = 0,
    device: str = "auto",
    max_length: int | None = None,
    max_records: int | None = None,
    pool: Literal["last", "mean", "max"] | None = None,
    layer_convention: Literal["block", "hidden_state_index"] = "block",
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> SaeTrainingResult:
    """Train on activation records, or on what `hf_model` (any source that load_model takes) makes of the texts of `dataset`.

    `out` is the run folder to make. `dataset` is packed into rows of `max_length` tokens (64 when left out), unless it is a file of scored
    prompts and neither `preset` nor `token_mode` means all tokens: those are one row each, at their last token, as interp-lab has it, or
    pooled as `pool` says.
    `records_out` gets the latents of each prompt of `dataset`, which must then be scored prompts. layer counts blocks;
    layer_convention = "hidden_state_index" counts as interp-lab does, whose layer 2 is the output of block 1. Further keywords are the
    kind's params (`interp-tui schema train_sae`); what of interp-lab's has no counterpart is refused with what to do instead.

    Raises UserError for what cannot be used, RunFailed if the run ends otherwise than done.
    """
    for name in sorted(set(params) & set(REFUSED)):
        raise UserError(f"train_sae takes no {name}", REFUSED[name])
    if layer is not None and layer_convention == "hidden_state_index":
        if layer < 1:
            raise UserError("layer 0 of the hidden states is the embedding", "dictionaries are of the outputs of blocks: 1 and on")
        layer -= 1
    alone = pool is not None or (token_mode != "all" and (preset != "production" or token_mode == "last"))
    if hf_model is not None and dataset is not None and alone and _are_scored(dataset):
        given_rows = {"prompts": _source(dataset), "features": "hidden", "layers": [layer or 0], "pool": pool or "last"}
        prompts = {
            "kind": "records",
            "name": "prompts",
            "seed": seed,
            "model": {"source": hf_model, "device": device},
            "params": given_rows,
        }
        made = run(prompts, out=Path(out).with_name(Path(out).name + "-prompts"), on_event=on_event).path
        done = train_sae(
            out=out, records=made / str(atomic.read_json(made / "result.json")["path"]), preset=preset, latent_dim=latent_dim,
            expansion_factor=expansion_factor, epochs=epochs, batch_size=batch_size, lr=lr, l1=l1, sparsity=sparsity, top_k=top_k,
            validation_fraction=validation_fraction, seed=seed, device=device, max_records=max_records, on_event=on_event, **params,
        )  # fmt: skip
        asked = {"model": prompts["model"]}
        written = _records(done.folder, asked, dataset, Path(records_out), seed, on_event) if records_out is not None else None
        return SaeTrainingResult(done.artifact_path, written, done.folder)
    if (records is None) == (hf_model is None):
        raise UserError("give either records or hf_model", "records is a .jsonl of activation records, hf_model a model to read from")
    given: dict[str, Any] = {"preset": preset, "layer": layer, "latents": latent_dim, "expansion": expansion_factor, "epochs": epochs}
    given |= {"batch_size": batch_size, "lr": lr, "l1": l1, "k": top_k, "validation": validation_fraction, "positions": token_mode}
    if top_k is None and latent_dim is not None and latent_dim < DEFAULT_K:
        given["k"] = latent_dim
    given |= {"architecture": SPARSITY.get(sparsity, sparsity) if sparsity is not None else None, "max_records": max_records}
    request: dict[str, Any] = {"kind": "train_sae", "name": Path(out).stem or "sae", "seed": seed}
    if records is not None:
        given |= {"records": str(Path(records).absolute()), "records_model": model}
    else:
        if dataset is None:
            raise UserError("hf_model is given without dataset", "give a .jsonl, .txt, .csv, .parquet, a hub id, or builtin:prose")
        request["model"] = {"source": hf_model, "device": device}
        request["data"] = {"train": {"source": _source(dataset), "context": max_length or 64}}
    request["params"] = {name: value for name, value in (given | params).items() if value is not None}
    folder = run(request, out=Path(out), on_event=on_event).path
    written = _records(folder, request, dataset, Path(records_out), seed, on_event) if records_out is not None else None
    return SaeTrainingResult(folder / str(atomic.read_json(folder / "result.json")["sae"]), written, folder)


REFUSED = {
    "method": "there is one trainer, with torch",
    "causal_out": "run kind interventions on the latents: features = 'sae', sae = the folder",
    "causal_top_k": "run kind interventions on the latents, with top",
    "causal_strength_sweep": "run kind steer on a latent, with strengths",
    "criterion": "run kind inspect with backend = 'sae' on the trained dictionary",
    "target_tokens": "they are the answers of kind interventions",
    "jump_threshold": "jumprelu learns its thresholds",
    "decoder_signature_size": "decoder rows are kept whole",
    "top_k_features": "give records the param top",
    **dict.fromkeys(("trust_remote_code", "model_class", "model_kwargs", "tokenizer_kwargs", "device_map"), "load_model opens models"),
}
"""interp-lab's keywords that have no counterpart, and what to do instead."""


def _are_scored(dataset: str | Path) -> bool:
    """Whether a dataset is a file of scored prompts."""
    path = Path(dataset)
    if path.suffix not in (".jsonl", ".json") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            first = json.loads(next((line for line in file if line.strip()), "null"))
        except ValueError:
            return False
    return isinstance(first, dict) and "text" in first and "criterion_score" in first


def _source(dataset: str | Path) -> str:
    return str(Path(dataset).absolute()) if Path(dataset).exists() else str(dataset)


def _records(folder: Path, request: Mapping[str, Any], dataset: str | Path | None, out: Path, seed: int, on_event: OnEvent) -> Path:
    if dataset is None:
        raise UserError("records_out is given without dataset", "the latents of which prompts should be recorded?")
    params = {"prompts": _source(dataset), "features": "sae", "sae": str(folder), "gzip": out.suffix == ".gz"}
    made = run(
        {"kind": "records", "name": "latents", "seed": seed, "model": request["model"], "params": params},
        out=folder.with_name(folder.name + "-records"),
        on_event=on_event,
    ).path
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made / str(atomic.read_json(made / "result.json")["path"]), out)
    return out
