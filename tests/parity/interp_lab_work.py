"""What interp-lab 3.1.0 gives on the rows' files. Runs in its environment; an argument names a folder of files of ours that it reads."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import interp_lab_files as files

Numbers = list[float]
COLUMNS = ("importance", "association", "specificity", "causal_effect", "stability")


def numbers(exchanged: Path | None) -> dict[str, Numbers | None]:
    from interp_lab import compare, inspect, validate_matches
    from interp_lab.sae_training import encode_with_artifact

    found: dict[str, Numbers | None] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        records, moved = files.records(folder), files.interventions(folder)
        ranked = inspect("m", files.CRITERION, backend="records", records=records, top_k=8)
        found["ranking"] = _cards(ranked.cards)
        found["ranking_order"] = [float(files.FEATURES.index(card.feature_id)) for card in ranked.cards]
        caused = inspect("m", files.CRITERION, backend="records", records=records, interventions=moved, top_k=8)
        found["ranking_caused"] = _cards(caused.cards)
        by_name = {card.feature_id: card for card in caused.cards}
        keys = ("strong_causal_score", "side_effect", "signed_causal_effect")
        found["effects"] = [float(by_name[name].causal_effects[key]) for name in files.FEATURES[:2] for key in keys]
        left, right = files.reports(folder)
        matched = compare(left, right, top_k=10)
        found["matching"] = _pairs(matched.matches)
        found["matching_weights"] = _pairs(compare(left, right, top_k=5, min_score=0.3, weights={"text": 0.1, "decoder": 0.9}).matches)
        found["tables"] = [float(len(ranked.cards_table())), float(len(ranked.cards_table()[0]))]
        found["matches_columns"] = [float(len(matched.matches_table()[0]))]
        found["toy"] = [card.importance for card in inspect("toy/a", files.CRITERION, backend="toy", top_k=4).cards]
        found["codes"] = [
            code for config in files.SPARSITIES
            for row in encode_with_artifact(files.ACTIVATIONS, {**files.DICTIONARY, "config": config}) for code in row
        ]  # fmt: skip
        found |= {**_on_a_model(folder), **_trained(folder)}
        if exchanged is not None:
            found["validated"] = [float(validate_matches(exchanged / "matches.json")["summary"]["match_count"])]
            ours = json.loads((exchanged / "sae.json").read_text())
            found["sae_written"] = [code for row in encode_with_artifact(files.ACTIVATIONS, ours) for code in row]
    return found


def _on_a_model(folder: Path) -> dict[str, Numbers | None]:
    from interp_lab.hf_interventions import export_hf_intervention_records
    from interp_lab.hf_records import export_hf_activation_records

    model, prompts = files.model_folder(folder), files.prompts(folder)
    out = export_hf_activation_records(
        model_name=str(model), dataset_path=prompts, out_path=folder / "hidden.jsonl", layers=[2], features_per_layer=128
    )
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    values = [{feature["feature_id"]: feature["activation"] for feature in row["features"]} for row in rows]
    found: dict[str, Numbers | None] = {"hidden": [row[f"L2:D{d}"] for row in values for d in (0, 30, 95, 127)]}
    for name, feature in (("ablated", "L2:D95"), ("ablated_last", "L4:D95")):
        done = export_hf_intervention_records(
            model_name=str(model), report_path=files.hidden_report(folder, feature), dataset_path=prompts, out_path=folder / "moved.jsonl",
            criterion=files.CRITERION, target_tokens=list(files.ANSWERS),
        )  # fmt: skip
        moved = [json.loads(line) for line in done.read_text().splitlines()]
        found[name] = [row[key] for row in moved for key in ("baseline_score", "intervention_score")] + [moved[0]["side_effect_score"]]
    return found


def _trained(folder: Path) -> dict[str, Numbers | None]:
    from interp_lab import train_sae

    given = {"hf_model": str(files.model_folder(folder)), "dataset": files.twelve(folder), "criterion": files.CRITERION, **files.SAE}
    found: dict[str, Numbers | None] = {}
    for name, answers in (("steered", list(files.ANSWERS)), ("steered_units", None)):
        done = train_sae(
            **given, out=folder / f"{name}.json", causal_out=folder / f"{name}.jsonl", causal_top_k=3,
            causal_strength_sweep=files.STRENGTHS, target_tokens=answers,
        )  # fmt: skip
        found["fallback"] = files.numbers_of(json.loads(done.artifact_path.read_text()))
        found[name] = files.steered_of([json.loads(line) for line in done.interventions_path.read_text().splitlines()])
    return found


def _cards(cards: Any) -> Numbers:
    by_name = {card.feature_id: card for card in cards}
    return [float(getattr(by_name[name], column)) for name in files.FEATURES for column in COLUMNS]


def _pairs(matches: Any) -> Numbers:
    return [float(x) for m in matches for x in (m.left_feature_id[1:2], m.right_feature_id[1:2], m.score)]


if __name__ == "__main__":
    print(json.dumps(numbers(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
