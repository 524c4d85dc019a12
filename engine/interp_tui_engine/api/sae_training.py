"""interp-lab's `train_sae` on this engine: a run, whose folder holds the dictionary in the layout of SAE Lens, its numbers and its report.

done = train_sae(hf_model="builtin:tiny", dataset="prompts.jsonl", layer=2, latent_dim=256, top_k=16, out="runs/sae")
done.artifact_path, done.values["fvu"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .. import atomic
from ..dictionaries import sae_lens
from ..dictionaries.interp_lab_json import save_json
from ..errors import UserError
from . import sae_effects, sae_prompts
from .sae_prompts import OnEvent, Prompts
from .sae_untrained import axes_dictionary
from .sampling import run

SPARSITY = {"relu-l1": "relu", "topk": "topk", "jumprelu": "jumprelu"}
"""interp-lab's names; ours are taken too."""
DEFAULT_K = 32
"""Latents that fire for an input where none says how many; of a smaller dictionary all may."""
L1, VALIDATION = 1e-3, 0.1
"""interp-lab's, of a dictionary that is not trained."""


@dataclass(frozen=True)
class SaeTrainingResult:
    """A finished train_sae run: the dictionary's folder (or the sae.json asked for), the files of records and of interventions where they
    were asked for, and the run's folder."""

    artifact_path: Path
    records_path: Path | None
    folder: Path
    interventions_path: Path | None = None

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
    method: Literal["auto", "torch", "fallback"] = "auto",
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
    token_mode: Literal["all", "last", "mean"] | None = None,
    seed: int = 0,
    device: str = "auto",
    max_length: int | None = None,
    max_records: int | None = None,
    pool: Literal["last", "mean", "max"] | None = None,
    layer_convention: Literal["block", "hidden_state_index"] = "block",
    criterion: str | None = None,
    causal_out: str | Path | None = None,
    causal_top_k: int | None = None,
    causal_strength_sweep: Sequence[float] | None = None,
    target_tokens: Sequence[str] | None = None,
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> SaeTrainingResult:
    """Train on activation records, or on what `hf_model` (any source that load_model takes) makes of the texts of `dataset`.

    `out` is the run folder to make; where it is a .json file, that gets the dictionary as interp-lab keeps it, and the run stands in a
    folder beside it. `dataset` is packed into rows of `max_length` tokens (64 when left out), unless it is a file of scored
    prompts and neither `preset` nor `token_mode` means all tokens: those are one row each, at their last token, as interp-lab has it, or
    pooled as `pool` (or `token_mode`) says.
    `records_out` gets the latents of each prompt of `dataset`, which must then be scored prompts, or of each row of `records`.
    layer counts blocks; layer_convention = "hidden_state_index" counts as interp-lab does, whose layer 2 is the output of block 1.
    method = "fallback" makes interp-lab's dictionary without training (`dictionaries.variance_axes`), in a folder that is no run.

    causal_out, with criterion: a file of interventions on the causal_top_k latents that go with the criterion, steered by each of
    causal_strength_sweep times their decoder row (`sae_effects`); target_tokens are the answers whose probability is scored, twenty
    units of measurement when left out. Further keywords are the kind's params (`interp-tui schema train_sae`); what of interp-lab's has
    no counterpart is refused with what to do instead.

    Raises UserError for what cannot be used, RunFailed if the run ends otherwise than done.
    """
    for name in sorted(set(params) & set(REFUSED)):
        raise UserError(f"train_sae takes no {name}", REFUSED[name])
    _check(method, records, hf_model, dataset, causal_out, criterion)
    folder = Path(out).with_suffix("") if Path(out).suffix == ".json" else Path(out)
    read = Prompts({"source": hf_model, "device": device}, dataset if hf_model is not None else None, folder, seed, on_event)
    block = _block(layer, layer_convention)
    if token_mode in ("last", "mean") and pool is None:
        pool = token_mode
    alone = pool is not None or (token_mode != "all" and preset != "production")
    alone = alone and read.dataset is not None and sae_prompts.are_scored(read.dataset)
    rows = read.rows(block, pool or "last") if alone or causal_out is not None else None
    source = Path(records).absolute() if records is not None else rows if alone else None
    architecture = SPARSITY.get(sparsity, sparsity) if sparsity is not None else None
    if method == "fallback":
        if source is None:
            raise UserError("method = 'fallback' reads one activation a prompt", "give records, or a dataset of scored prompts")
        dictionary = axes_dictionary(
            source, preset=preset, latents=latent_dim, expansion=expansion_factor, l1=L1 if l1 is None else l1,
            architecture=architecture or ("topk" if preset == "production" else "relu"), k=top_k or DEFAULT_K,
            validation=VALIDATION if validation_fraction is None else validation_fraction, model=model, max_records=max_records,
            seed=seed, folder=folder,
        )  # fmt: skip
        artifact = folder
    else:
        given: dict[str, Any] = {"preset": preset, "latents": latent_dim, "expansion": expansion_factor, "epochs": epochs}
        given |= {"batch_size": batch_size, "lr": lr, "l1": l1, "k": top_k, "validation": validation_fraction}
        given |= {"architecture": architecture, "max_records": max_records}
        if top_k is None and latent_dim is not None and latent_dim < DEFAULT_K:
            given["k"] = latent_dim
        if source is not None:
            given |= {"records": str(source), "records_model": model if records is not None else None}
        else:
            given |= {"layer": block, "positions": token_mode}
        artifact = _trained(read, given | params, max_length or 64, from_model=source is None)
        dictionary = sae_lens.load(artifact)
    recorded = None
    if records_out is not None and source is not None:
        recorded = sae_prompts.latents_of_rows(dictionary, source, model if records is not None else None, Path(records_out))
    elif records_out is not None:
        recorded = sae_prompts.latents(artifact, read, Path(records_out))
    steered = None
    if causal_out is not None:
        assert rows is not None and criterion is not None and layer is not None, "they were asked for above"
        chosen = sae_effects.LatentTrials(layer, layer_convention, causal_top_k or sae_effects.TOP[preset], causal_strength_sweep)
        steered = sae_effects.steered(dictionary, artifact, rows, Path(causal_out), read, criterion, chosen, target_tokens)
    done = SaeTrainingResult(artifact, recorded, folder, steered)
    if Path(out).suffix != ".json":
        return done
    numbers = {name: value for name, value in done.values.items() if name in ("fvu", "l0", "dead_fraction")}
    save_json(dictionary, Path(out), method="fallback-dictionary" if method == "fallback" else "torch", metrics=numbers)
    return replace(done, artifact_path=Path(out))


def _check(method: str, records: object, hf_model: object, dataset: object, causal_out: object, criterion: object) -> None:
    """Raise UserError for arguments that contradict or lack each other."""
    if method not in ("auto", "torch", "fallback"):
        raise UserError(f"there is no method {method!r}", "auto and torch train; fallback takes the dimensions that vary most")
    if (records is None) == (hf_model is None):
        raise UserError("give either records or hf_model", "records is a .jsonl of activation records, hf_model a model to read from")
    if hf_model is not None and dataset is None:
        raise UserError("hf_model is given without dataset", "give a .jsonl, .txt, .csv, .parquet, a hub id, or builtin:prose")
    if causal_out is not None and hf_model is None:
        raise UserError("causal_out is given with records", "latents are steered in a model: give hf_model and dataset")
    if causal_out is not None and criterion is None:
        raise UserError("causal_out is given without criterion", "say in one sentence what the prompts' criterion_score is of")


def _trained(read: Prompts, params: Mapping[str, Any], context: int, *, from_model: bool) -> Path:
    """A run of kind train_sae; returns the dictionary's folder."""
    request: dict[str, Any] = {"kind": "train_sae", "name": read.folder.name or "sae", "seed": read.seed}
    if from_model:
        request["model"] = dict(read.model)
        request["data"] = {"train": {"source": sae_prompts.source_of(read.dataset or ""), "context": context}}
    request["params"] = {name: value for name, value in params.items() if value is not None}
    made = run(request, out=read.folder, on_event=read.on_event).path
    return made / str(atomic.read_json(made / "result.json")["sae"])


def _block(layer: int | None, convention: str) -> int | None:
    """The layer as blocks are counted here."""
    if layer is None or convention == "block":
        return layer
    if layer < 1:
        raise UserError("layer 0 of the hidden states is the embedding", "dictionaries are of the outputs of blocks: 1 and on")
    return layer - 1


REFUSED = {
    "causal_dataset_path": "the prompts of dataset are steered on",
    "jump_threshold": "jumprelu learns its thresholds",
    "decoder_signature_size": "decoder rows are kept whole",
    "top_k_features": "give records the param top",
    **dict.fromkeys(("trust_remote_code", "model_class", "model_kwargs", "tokenizer_kwargs", "device_map"), "load_model opens models"),
}
"""interp-lab's keywords that have no counterpart, and what to do instead."""
