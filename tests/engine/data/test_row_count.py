"""How many rows data has, before it is read: within a factor of two of what reading gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp_tui_engine.data.row_count import row_count
from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.models.load import load_model
from interp_tui_engine.specs import DataSpec


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return load_model("builtin:tiny", device="cpu").tokenizer


def test_facts_and_files_are_counted_by_their_size(tmp_path: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = "The sea is wide and the ships are few; who goes there comes home late. " * 400
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (tmp_path / "notes.md").write_text("not read")
    for source in ("builtin:facts", str(tmp_path / "a.txt"), str(tmp_path)):
        spec = DataSpec(source=source, context=32)
        guess, there = row_count(spec), len(load_rows(spec, tokenizer, name="d"))
        assert guess is not None and there / 2 <= guess <= 2 * there, (source, guess, there)


def test_never_more_than_asked_for_and_never_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    assert row_count(DataSpec(source="builtin:code", context=64, rows=16)) == 16
    assert row_count(DataSpec(source=str(tmp_path / "a.txt"), context=512)) == 1
    assert (row_count(DataSpec(source="builtin:prose")) or 0) > 1000
    assert row_count(DataSpec(source="someone/text")) is None
    assert row_count(DataSpec(source="someone/text", rows=7)) == 7
    assert row_count(DataSpec(source=str(tmp_path / "gone"))) is None
