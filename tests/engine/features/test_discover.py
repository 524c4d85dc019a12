"""interp-lab's Python names, with a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import interp_tui_engine as engine
from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError


def test_inspect_and_match_in_one_call_each(tmp_path: Path) -> None:
    found = engine.inspect(None, "the planted topic", backend="toy", out=tmp_path / "a", cards=6, permutations=0)
    assert found.report.is_file() and len(found.cards) == 6 and found.table["feature_id"][0] == found.cards[0]["feature_id"]
    pairs = engine.match(found.report, found.report, out=tmp_path / "matched", shuffles=3)
    assert all(pair["left"] == pair["right"] for pair in pairs.matches) and len(pairs.matches) == 6
    (tmp_path / "f.jsonl").write_text('{"feature_id": "L1:F2", "model": "m", "label": "tests"}\n')
    described = engine.inspect("m", "tests", features=tmp_path / "f.jsonl", backend="jsonl", out=tmp_path / "f")
    assert described.cards[0]["feature_id"] == "L1:F2"


def test_interp_labs_keywords_and_tables(tmp_path: Path) -> None:
    """Toy models differ by their names; a report goes on into compare, whose file is interp-lab's."""
    files = {"out": tmp_path / "a", "html_out": tmp_path / "a.html", "csv_out": tmp_path / "a.csv"}
    left = engine.inspect("toy/a", "c", backend="toy", top_k=4, permutations=0, **files)
    right = engine.inspect("toy/b", "c", backend="toy", top_k=4, permutations=0, out=tmp_path / "b")
    assert left.cards != right.cards and len(left.cards) == 4
    assert "<html" in (tmp_path / "a.html").read_text()[:400] and "feature_id" in (tmp_path / "a.csv").read_text().splitlines()[0]
    columns = "rank feature_id layer label importance association causal_effect specificity stability strong_causal_score"
    assert [list(line) for line in left.cards_table()] == [[*columns.split(), "causal_provenance", "source"]] * 4
    assert [line["feature_id"] for line in left.cards_table()] == [card["feature_id"] for card in left.cards]
    compared = engine.compare(left, right.report, top_k=3, out=tmp_path / "matches.json")
    assert compared.folder == tmp_path / "matches" and [line["rank"] for line in compared.matches_table()] == [1, 2, 3]
    assert (tmp_path / "matches.md").read_text() == (compared.folder / "report.md").read_text()
    written = atomic.read_json(tmp_path / "matches.json")
    assert written["schema_version"] == "interp-lab.match_report.v1" and len(written["matches"]) == 3
    first, line = written["matches"][0], compared.matches_table()[0]
    assert first["left_feature_id"] == line["left_feature_id"] == compared.matches[0]["left"] and first["score"] == line["score"]
    assert first["left_model"] == written["left_model"] == left.cards[0]["model"] == "toy/a" and written["right_model"] == "toy/b"


@pytest.mark.parametrize("keyword", ["require_interventions", "nla_explanations", "neuronpedia_base_url"])
def test_a_keyword_without_a_counterpart_is_refused_with_what_to_do(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"inspect takes no {keyword}") as caught:
        engine.inspect("m", "c", records="r.jsonl", **{keyword: "x"})
    assert isinstance(caught.value, UserError) and caught.value.hint


def test_one_positive_text_is_enough_where_none_is_held_out(tmp_path: Path) -> None:
    """And the report has no number that is none."""
    lines = [
        {"model": "m", "criterion_score": float(i == 0), "text": f"t{i}", "features": {"L0:D1": 1.0 - i / 8, "L0:D2": 0.5}}
        for i in range(6)
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RuntimeError, match="only 1 positive texts"):
        engine.inspect("m", "c", records=tmp_path / "r.jsonl", out=tmp_path / "a")
    for ranking in ("evidence", "interp-lab"):
        found = engine.inspect("m", "c", records=tmp_path / "r.jsonl", held_out=0.0, min_rows=1, ranking=ranking, out=tmp_path / ranking)
        assert found.cards[0]["feature_id"] == "L0:D1"
        assert "nan" not in (found.folder / "report.md").read_text().lower()


def test_bad_input_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        engine.inspect("m", "c", records=tmp_path / "none.jsonl", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "bad.jsonl").write_text('{"model": "m", "criterion_score": 1, "features": {"x": NaN}}\n')
    with pytest.raises(UserError, match=r"bad.jsonl, line 1: features\['x'\] is nan"):
        engine.inspect("m", "c", records=tmp_path / "bad.jsonl", out=tmp_path / "b")
    assert not (tmp_path / "b").exists()
