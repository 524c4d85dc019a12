"""The files that both sides of interp-lab's rows read: records, interventions, two reports, a dictionary, prompts, a model's folder."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

MODEL = Path(__file__).resolve().parents[2] / "engine" / "interp_tui_engine" / "models" / "tiny"
CRITERION = "the next token is a capital city"
FEATURES = [f"L{layer}:D{dimension}" for layer in (1, 2) for dimension in (3, 7, 11, 30)]
PROMPTS = (
    ("France", "The capital of France is", 1.0), ("Japan", "The capital of Japan is", 1.0), ("Italy", "The capital of Italy is", 1.0),
    ("grass", "The color of grass is", 0.0), ("snow", "The color of snow is", 0.0),
)  # fmt: skip
ANSWERS = (" Paris", " Tokyo", " Rome")
TWELVE = (
    ("The capital of France is", "The capital of Japan is", "The capital of Italy is", "The capital of Spain is", "The capital of Egypt is",
     "The capital of Norway is"),
    ("The color of grass is", "The color of snow is", "The color of coal is", "Two plus two is", "The opposite of hot is", "A cat says"),
)  # fmt: skip
SAE = {"layer": 2, "pool": "mean", "latent_dim": 16, "method": "fallback", "validation_fraction": 0.25, "seed": 0}
"""A dictionary that both make alike: without training, of prompts' mean activations."""
STRENGTHS = [1.0, 4.0]
DICTIONARY: dict[str, Any] = {
    **{"format": "interp-lab.sae.v1", "model": "m", "layer": 2, "input_dim": 3, "latent_dim": 4, "mean": [0.5, -0.25, 1.0]},
    "encoder_bias": [0.1, -0.2, 0.0, 0.3],
    "encoder_weight": [[1.0, 0.5, -0.5], [-0.25, 2.0, 0.0], [0.0, 1.0, 1.0], [1.5, -1.0, 0.25]],
    "decoder_weight": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]],
}
ACTIVATIONS = [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5], [-2.0, 0.25, 1.5]]
SPARSITIES = ({}, {"sparsity": "topk", "top_k": 2}, {"sparsity": "jumprelu", "jump_threshold": 1.0})


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def records(folder: Path) -> Path:
    """24 texts with 8 features each, one of them missing from every fifth."""
    draw = random.Random(3)
    rows = []
    for index in range(24):
        score = float(index % 2)
        values = {name: round(draw.gauss(0.3 * score * place, 1.0), 6) for place, name in enumerate(FEATURES)}
        if index % 5 == 0:
            del values[FEATURES[-1]]
        rows.append({"model": "m", "criterion_score": score, "prompt_id": f"p{index}", "text": f"text {index}", "features": values})
    return lines(folder / "records.jsonl", rows)


def interventions(folder: Path) -> Path:
    """Two features ablated on six prompts each, with controls and side effects."""
    draw = random.Random(5)
    rows = []
    for place, name in enumerate(FEATURES[:2]):
        for index in range(6):
            base = round(draw.uniform(0.4, 0.8), 6)
            for control in (None, "random"):
                effect = 0.2 - 0.15 * place if control is None else 0.02
                row = {
                    **{"model": "m", "feature_id": name, "criterion": CRITERION, "intervention": "ablate", "prompt_id": f"p{index}"},
                    **{"baseline_score": base, "intervention_score": round(base - effect + draw.gauss(0, 0.01), 6)},
                    "side_effect_score": 0.03,
                }
                rows.append(row if control is None else {**row, "metadata": {"control_type": control}})
    return lines(folder / "interventions.jsonl", rows)


def reports(folder: Path) -> tuple[Path, Path]:
    """Two reports of six cards, with every axis of fingerprints, missing ones, zeros, and effects of both kinds."""
    draw = random.Random(7)
    sides = []
    for side in ("a", "b"):
        cards = []
        for place in range(6):
            vector = lambda width: [round(draw.gauss(0, 1), 4) for _ in range(width)]  # noqa: E731
            provenance = ("intervention", "association", "none")[place % 3]
            prints = {
                **{"feature_id": f"L{place}:D{place}", "model": side, "layer": place, "text": f"feature {place}", "text_vector": vector(8)},
                "activation_signature": [] if place == 4 else vector(6 if place != 3 else 5),
                "decoder_signature": [0.0] * 4 if place == 2 else vector(4),
                "causal_vector": [round(0.4 * x, 4) for x in vector(4)] if provenance != "none" else [],
                **{"neighbor_labels": [], "text_embedder": "hash-v1", "causal_provenance": provenance},
            }
            key = {"intervention": "signed_causal_effect", "association": "signed_association"}.get(provenance)
            card = {
                **{"feature_id": f"L{place}:D{place}", "model": side, "layer": place, "label": f"feature {place}", "explanation": "e"},
                **{"importance": 0.5, "association": 0.5, "specificity": 0.5, "causal_effect": 0.0, "stability": 0.5, "examples": ["t"]},
                **{"source": "activation-records", "fingerprint": prints, "metadata": {}},
                "causal_effects": {} if key is None else {key: round(draw.gauss(0, 0.5), 4)},
            }
            cards.append(card)
        criterion = {"text": CRITERION, "positive_examples": [], "negative_examples": [], "scoring_notes": ""}
        report = {
            "schema_version": "interp-lab.inspection_report.v1",
            "model": side,
            "criterion": criterion,
            "cards": cards,
            "metadata": {},
        }
        path = folder / f"{side}.json"
        path.write_text(json.dumps({**report, "created_at": "2026-01-01T00:00:00+00:00"}))
        sides.append(path)
    return sides[0], sides[1]


def prompts(folder: Path) -> Path:
    return lines(folder / "prompts.jsonl", [{"text": text, "criterion_score": score, "prompt_id": name} for name, text, score in PROMPTS])


def twelve(folder: Path) -> Path:
    """Twelve short prompts, half of which meet the criterion."""
    rows = [{"text": text, "criterion_score": score} for score, texts in zip((1.0, 0.0), TWELVE, strict=True) for text in texts]
    return lines(folder / "twelve.jsonl", [{**row, "prompt_id": f"p{place}"} for place, row in enumerate(rows)])


def numbers_of(artifact: dict[str, Any]) -> list[float]:
    """Of a sae.json: what it subtracts, which dimensions its latents are, and their bias."""
    axes = [float(max(range(len(row)), key=row.__getitem__)) for row in artifact["encoder_weight"]]
    return [*artifact["mean"][::7], *axes, artifact["encoder_bias"][0], float(artifact["layer"]), float(artifact["latent_dim"])]


def steered_of(rows: list[dict[str, Any]]) -> list[float]:
    """Of rows of steered latents, their own alone: which latent, the probabilities before and after, and the side effect."""
    own = sorted(
        (row for row in rows if "control_type" not in row.get("metadata", {})), key=lambda row: (row["feature_id"], row["prompt_id"])
    )
    keys = ("baseline_score", "intervention_score", "side_effect_score")
    return [float(x) for row in own for x in (row["feature_id"].rpartition("F")[2], *(row[key] for key in keys))]


def hidden_report(folder: Path, feature: str) -> Path:
    """A report whose one card is a hidden dimension, as interp-lab's exporter numbers it."""
    prints = {
        **{"feature_id": feature, "model": "tiny", "layer": 2, "text": "t", "text_vector": [1.0], "activation_signature": [1.0]},
        **{"decoder_signature": [], "causal_vector": [], "neighbor_labels": [], "causal_provenance": "none"},
    }
    card = {
        **{"feature_id": feature, "model": "tiny", "layer": 2, "label": feature, "explanation": "e", "importance": 0.5, "association": 0.5},
        **{"specificity": 0.5, "causal_effect": 0.0, "stability": 0.5, "examples": [], "source": "hf-hidden-state", "fingerprint": prints},
        **{"causal_effects": {}, "metadata": {"layer_convention": "hidden_state_index"}},
    }
    criterion = {"text": CRITERION, "positive_examples": [], "negative_examples": [], "scoring_notes": ""}
    report = {"schema_version": "interp-lab.inspection_report.v1", "model": "tiny", "criterion": criterion, "cards": [card], "metadata": {}}
    path = folder / f"{feature.replace(':', '-')}.json"
    path.write_text(json.dumps({**report, "created_at": "2026-01-01T00:00:00+00:00"}))
    return path


def model_folder(folder: Path) -> Path:
    """The embedded model as a folder that transformers loads, computing in float32 as here."""
    made = folder / "tiny"
    made.mkdir(exist_ok=True)
    for name, source in (("tokenizer.json", "tokenizer.json"), ("model.safetensors", "final.safetensors")):
        shutil.copyfile(MODEL / source, made / name)
    config = json.loads((MODEL / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "dtype": "float32", "torch_dtype": "float32"}))
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return made
