"""The work of `interp_lab_work` with this engine, on the same files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import interp_tui_engine as engine
from interp_tui_engine.dictionaries.dictionary import Dictionary
from interp_tui_engine.dictionaries.interp_lab_json import load_json, save_json

from . import interp_lab_files as files
from .interp_lab_work import COLUMNS, Numbers

RANKED = {"ranking": "interp-lab", "held_out": 0.0, "permutations": 0, "min_rows": 1, "top_k": 8}


def numbers() -> dict[str, Numbers | None]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = {**_ranked(folder), **_matched(folder), **_codes(folder), **_on_a_model(folder), **_trained(folder)}
    return found


def exchange(folder: Path) -> None:
    """Files of ours that the peer reads: matches, and a dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        left, right = files.reports(Path(scratch))
        engine.compare(left, right, top_k=10, out=Path(scratch) / "matches.json")
        (folder / "matches.json").write_text((Path(scratch) / "matches.json").read_text())
    _written(folder / "sae.json")


def _written(path: Path) -> Dictionary:
    """A dictionary of top-k latents in interp-lab's form."""
    made = {**files.DICTIONARY, "config": {"sparsity": "topk", "top_k": 2}}
    path.with_name("given.json").write_text(json.dumps(made))
    dictionary = load_json(path.with_name("given.json"))
    save_json(dictionary, path)
    return dictionary


def _ranked(folder: Path) -> dict[str, Numbers | None]:
    records, moved = files.records(folder), files.interventions(folder)
    given = {"backend": "records", "records": records, **RANKED}
    ranked = engine.inspect("m", files.CRITERION, out=folder / "ranked", **given)
    caused = engine.inspect("m", files.CRITERION, interventions=moved, out=folder / "caused", **given)
    toy = engine.inspect("toy/a", files.CRITERION, backend="toy", top_k=4, permutations=0, out=folder / "toy")
    by_name = {card["feature_id"]: card for card in caused.cards}
    keys = ("strong_causal_score", "side_effect", "signed_causal_effect")
    return {
        "ranking": _cards(ranked.cards),
        "ranking_order": [float(files.FEATURES.index(card["feature_id"])) for card in ranked.cards],
        "ranking_caused": _cards(caused.cards),
        "effects": [float(by_name[name]["causal_effects"][key]) for name in files.FEATURES[:2] for key in keys],
        "toy": [card["importance"] for card in toy.cards],
        "tables": [float(len(ranked.cards_table())), float(len(ranked.cards_table()[0]))],
    }


def _matched(folder: Path) -> dict[str, Numbers | None]:
    left, right = files.reports(folder)
    matched = engine.compare(left, right, top_k=10, out=folder / "matches.json")
    weighed = engine.compare(
        left, right, top_k=5, min_score=0.3, weights={"text": 0.1, "decoder": 0.9, "activation": 0.0, "causal": 0.0}, out=folder / "weighed"
    )
    written = json.loads((folder / "matches.json").read_text())
    return {
        "matching": _pairs(matched.matches),
        "matching_weights": _pairs(weighed.matches),
        "validated": [float(len(written["matches"]))],
        "matches_columns": [float(len(matched.matches_table()[0]))],
    }


def _codes(folder: Path) -> dict[str, Numbers | None]:
    codes: Numbers = []
    for config in files.SPARSITIES:
        (folder / "sae.json").write_text(json.dumps({**files.DICTIONARY, "config": config}))
        codes += load_json(folder / "sae.json").encode(torch.tensor(files.ACTIVATIONS)).flatten().tolist()
    written = _written(folder / "sae.json").encode(torch.tensor(files.ACTIVATIONS)).flatten().tolist()
    return {"codes": codes, "sae_written": written}


def _trained(folder: Path) -> dict[str, Numbers | None]:
    given = {"hf_model": "builtin:tiny", "dataset": files.twelve(folder), "criterion": files.CRITERION, "device": "cpu", **files.SAE}
    found: dict[str, Numbers | None] = {}
    for name, answers in (("steered", list(files.ANSWERS)), ("steered_units", None)):
        done = engine.train_sae(
            **given, out=folder / f"{name}.json", causal_out=folder / f"{name}.jsonl", causal_top_k=3,
            causal_strength_sweep=files.STRENGTHS, target_tokens=answers, layer_convention="hidden_state_index",
        )  # fmt: skip
        assert done.interventions_path is not None
        found["fallback"] = files.numbers_of(json.loads(done.artifact_path.read_text()))
        found[name] = files.steered_of([json.loads(line) for line in done.interventions_path.read_text().splitlines()])
    return found


def _on_a_model(folder: Path) -> dict[str, Numbers | None]:
    prompts, model = files.prompts(folder), {"source": "builtin:tiny", "revision": "final"}
    request = {"kind": "records", "model": model, "params": {"prompts": str(prompts), "features": "hidden", "layers": [1], "gzip": False}}
    made = engine.run(request, out=folder / "records").path
    rows = [json.loads(line) for line in (made / "records.jsonl").read_text().splitlines()]
    found: dict[str, Numbers | None] = {"hidden": [_value(row, f"L1:D{d}") for row in rows for d in (0, 30, 95, 127)]}
    for name, feature in (("ablated", "L2:D95"), ("ablated_last", "L4:D95")):
        params = {
            **{"report": str(files.hidden_report(folder, feature)), "prompts": str(prompts), "criterion": files.CRITERION, "to": "zero"},
            **{"metric": "prob", "answers": list(files.ANSWERS), "controls": [], "plain_rows": 0},
        }
        done = engine.run({"kind": "interventions", "model": model, "params": params}, out=folder / name).path
        moved = [json.loads(line) for line in (done / "interventions.jsonl").read_text().splitlines()]
        found[name] = [*(row[key] for row in moved for key in ("baseline_score", "intervention_score")), moved[0]["side_effect_score"]]
    return found


def _value(row: dict[str, Any], name: str) -> float:
    features = row["features"]
    if isinstance(features, dict):
        return float(features.get(name, 0.0))
    return float(next(f.get("activation", f.get("value", 0.0)) for f in features if f["feature_id"] == name))


def _cards(cards: list[dict[str, Any]]) -> Numbers:
    by_name = {card["feature_id"]: card for card in cards}
    return [float(by_name[name][column]) for name in files.FEATURES for column in COLUMNS]


def _pairs(matches: list[dict[str, Any]]) -> Numbers:
    return [float(x) for m in matches for x in (m["left"][1:2], m["right"][1:2], m["score"])]
