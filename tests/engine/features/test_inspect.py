"""The inspect kind: planted truth end to end, the numbers of interp-lab on the same files, and evidence that cannot be used."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Artifact, Warned
from interp_tui_engine.features import evidence, interventions, jsonl, records, synthetic
from interp_tui_engine.features.interventions import Intervention
from interp_tui_engine.runtime.context import Interrupted

SEED_SCORES = {
    False: {"L1:D0": 0.421554, "L1:D1": 0.283051, "L2:D7": 0.183492, "SAE:L2:F5": 0.174828},
    True: {"L1:D0": 0.618193, "L1:D1": 0.283051, "SAE:L2:F5": 0.174828, "L2:D7": 0.171713},
}
"""Importances that `interp-lab inspect` 3.1.0 prints for `small_files`, without and with the interventions."""


def small_files(folder: Path) -> None:
    r = random.Random(5)
    rows = []
    for i in range(14):
        y = round(r.random(), 2)
        f = {"L1:D0": round(y + 0.2 * r.random(), 3), "L1:D1": round(-0.5 * y + 0.3 * r.random(), 3), "L2:D7": round(r.random(), 3)}
        if i % 3:
            f["SAE:L2:F5"] = round(2 * r.random(), 3)
        rows.append(records.record("m", f"p{i}", f"text {i}", y, f))
    jsonl.write(folder / "r.jsonl", rows)
    moved = [
        Intervention("m", name, "ablate", 0.9, 0.9 - e - 0.1 * r.random(), "c", f"p{k}", round(0.1 * r.random(), 3), {})
        for name, e in (("L1:D0", 0.4), ("L2:D7", 0.0))
        for k in range(3)
    ]
    moved += [Intervention("m", "L1:D0", "ablate", 0.9, 0.87, "c", f"p{k}", None, {"control_type": "random"}) for k in range(2)]
    interventions.write(folder / "i.jsonl", moved)


def test_the_headline_auroc_says_what_it_is_over_and_whether_q_lets_it_stand(run_kind: Any, tmp_path: Path) -> None:
    """Noise, five rows a text: the best of ten features reaches 0.77 on twenty held-out texts."""
    r = random.Random(0)
    features = [[{f"L1:D{j}": r.gauss(0, 1) for j in range(10)} for _ in range(5)] for _ in range(40)]
    rows = [
        records.record("m", f"p{t}-{i}", f"text {t}", float(t % 2), f) for t, of_text in enumerate(features) for i, f in enumerate(of_text)
    ]
    jsonl.write(tmp_path / "noise.jsonl", rows)
    result, _, _ = run_kind("inspect", criterion="c", records=[str(tmp_path / "noise.jsonl")])
    bar = result.uncertainty["auroc"]
    assert bar.over.startswith("20 held-out texts") and bar.clear is False and "first of 10 features" in bar.note
    planted, _, _ = run_kind("inspect", criterion=synthetic.CRITERION, backend="toy")
    assert planted.uncertainty["auroc"].clear and planted.uncertainty["auroc"].over.endswith("held-out rows")


def test_the_planted_cause_comes_first(run_kind: Any) -> None:
    result, events, folder = run_kind("inspect", criterion=synthetic.CRITERION, backend="toy", cards=20)
    truth = synthetic.planted(100, rows=400, features=256, followers=3, shift=1.2, effect=0.25, prompts=16)
    values = result.values
    assert values["cards"][0]["feature_id"] == truth.name(truth.causal) and values["causal"] == 1
    assert {card["feature_id"] for card in values["cards"][1:4]} == {truth.name(f) for f in truth.followers}
    assert [event.path for event in events if isinstance(event, Artifact)] == ["features.parquet", "report.json"]
    table = pq.read_table(folder.path / "features.parquet").to_pydict()
    assert table["rank"] == list(range(1, 257)) and table["feature_id"][0] == truth.name(truth.causal)
    report = atomic.read_json(folder.path / "report.json")
    assert len(report["cards"]) == 20 and report["metadata"]["feature_count"] == 256
    card = report["cards"][0]
    activations = truth.activations[:, truth.causal]
    best = card["metadata"]["activating"][0]
    assert best["activation"] == pytest.approx(activations[abs(activations).argmax()], abs=1e-5)
    assert best["text"].startswith(f"Text {abs(activations).argmax()} ")
    assert sum(card["metadata"]["histogram"]["counts"]) == 400
    assert not (folder.shard(0) / "scratch").exists()


def test_equal_requests_give_equal_digests_and_a_stop_leaves_nothing_half_done(run_kind: Any, tmp_path: Path) -> None:
    request: dict[str, Any] = {"criterion": "x", "backend": "toy", "permutations": 20}
    first, _, _ = run_kind("inspect", **request)
    again, _, _ = run_kind("inspect", **request)
    assert first.digests == again.digests and "features/q" in first.digests
    with pytest.raises(Interrupted):
        run_kind("inspect", orders=lambda: "stop", **request)
    assert not list((tmp_path / "run-2").rglob("scratch")) and not (tmp_path / "run-2" / "report.json").exists()


@pytest.mark.parametrize("moved", [False, True])
def test_the_seeds_ranking_gives_the_seeds_numbers(run_kind: Any, tmp_path: Path, moved: bool) -> None:
    small_files(tmp_path)
    more = {"interventions": "i.jsonl"} if moved else {}
    _, _, folder = run_kind("inspect", criterion="c", records=["r.jsonl"], ranking="interp-lab", held_out=0.0, min_rows=1, **more)
    cards = atomic.read_json(folder.path / "report.json")["cards"]
    assert {card["feature_id"]: card["importance"] for card in cards} == SEED_SCORES[moved]
    assert [card["feature_id"] for card in cards] == list(SEED_SCORES[moved])


def test_a_dump_without_activations_is_ranked_by_words_and_effects(run_kind: Any, tmp_path: Path) -> None:
    small_files(tmp_path)
    items = [evidence.Evidence("a", "m", label="units of length in metres"), evidence.Evidence("b", "m", label="names of rivers")]
    evidence.write(tmp_path / "f.jsonl", items)
    result, events, _ = run_kind("inspect", criterion="length in metres", backend="features", features="f.jsonl")
    assert [card["feature_id"] for card in result.values["cards"]] == ["a", "b"] and result.values["cards"][0]["auroc"] is None
    items.append(evidence.Evidence("L1:D0", "m"))
    evidence.write(tmp_path / "f.jsonl", items)
    rows = interventions.read(tmp_path / "i.jsonl")
    rows += [replace(rows[-1], changed=0.87 + 0.005 * draw, metadata={"control_type": "random", "draw": draw}) for draw in range(4)]
    interventions.write(tmp_path / "i.jsonl", rows)
    more = {"interventions": "i.jsonl", "any_criterion": True}
    result, events, _ = run_kind("inspect", criterion="length in metres", backend="features", features="f.jsonl", **more)
    assert result.values["cards"][0]["feature_id"] == "L1:D0"
    assert any("L2:D7" in event.message for event in events if isinstance(event, Warned))


def test_a_rule_scores_the_texts_anew(run_kind: Any, tmp_path: Path) -> None:
    rows = [records.record("m", f"p{i}", "in Paris" if i % 2 else "a comparison", 0.0, {"x": float(i % 2), "y": 1.0}) for i in range(40)]
    jsonl.write(tmp_path / "r.jsonl.gz", rows)
    with pytest.raises(UserError, match="the criterion is constant: all 40 rows score 0"):
        run_kind("inspect", criterion="c", records=["r.jsonl.gz"])
    with pytest.raises(UserError, match="only 1 positive texts"):
        run_kind("inspect", criterion="c", records=["r.jsonl.gz"], rule="words: paris")  # two texts in all: nothing to hold out
    for i, row in enumerate(rows):
        row["text"] += f" {i}"
    jsonl.write(tmp_path / "r.jsonl.gz", rows)
    result, _, _ = run_kind(
        "inspect", criterion="c", records=["r.jsonl.gz"], rule="words: paris", other_criteria={"odd": "regex: [13579]$"}
    )
    best = result.values["cards"][0]
    assert best["feature_id"] == "x" and best["auroc"] == 1.0 and best["specificity"] == 0.0


def test_evidence_that_does_not_fit(run_kind: Any, tmp_path: Path) -> None:
    small_files(tmp_path)
    with pytest.raises(UserError, match="are for another criterion: 'c'"):
        run_kind("inspect", criterion="else", records=["r.jsonl"], interventions="i.jsonl")
    rows = [json.loads(line) | {"model": "n"} for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    jsonl.write(tmp_path / "n.jsonl", rows)
    with pytest.raises(UserError, match="no intervention is on model 'm'"):
        run_kind("inspect", criterion="c", records=["r.jsonl"], interventions="n.jsonl")
    with pytest.raises(UserError, match="such file"):
        run_kind("inspect", criterion="c", records=["r.jsnl"])
    with pytest.raises(UserError, match=r"params.records: is missing"):
        run_kind("inspect", criterion="c")
    with pytest.raises(UserError, match=r"did you mean .words."):
        run_kind("inspect", criterion="c", records=["r.jsonl"], rule="word: a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"holds no records.jsonl"):
        run_kind("inspect", criterion="c", records=["folder"])
