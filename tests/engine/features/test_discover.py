"""interp-lab's Python names, with a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import interp_tui_engine as engine
from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError


def test_inspect_and_match_in_one_call_each(tmp_path: Path) -> None:
    found = engine.inspect(None, "the planted topic", backend="toy", out=tmp_path / "a", cards=6, permutations=0)
    assert found.report.is_file() and len(found.cards) == 6 and found.table["feature_id"][0] == found.cards[0]["feature_id"]
    pairs = engine.compare(found.report, found.report, out=tmp_path / "matches.json", shuffles=3)
    assert all(pair["left"] == pair["right"] for pair in pairs.matches) and len(pairs.matches) == 6
    assert atomic.read_json(tmp_path / "matches.json") == {"matches": pairs.matches} and pairs.folder == tmp_path / "matches"
    (tmp_path / "f.jsonl").write_text('{"feature_id": "L1:F2", "model": "m", "label": "tests"}\n')
    described = engine.inspect("m", "tests", features=tmp_path / "f.jsonl", backend="jsonl", out=tmp_path / "f")
    assert described.cards[0]["feature_id"] == "L1:F2"


def test_bad_input_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        engine.inspect("m", "c", records=tmp_path / "none.jsonl", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    (tmp_path / "bad.jsonl").write_text('{"model": "m", "criterion_score": 1, "features": {"x": NaN}}\n')
    with pytest.raises(UserError, match=r"bad.jsonl, line 1: features\['x'\] is nan"):
        engine.inspect("m", "c", records=tmp_path / "bad.jsonl", out=tmp_path / "b")
    assert not (tmp_path / "b").exists()
