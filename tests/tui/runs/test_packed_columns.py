"""Columns of large Parquet files, read by another process, are what they were."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from interp_tui.runs import feature_table, packed_columns

COLUMNS: dict[str, list[Any]] = {
    "feature_id": ["a", "b [/b]", "ü\n"],
    "rank": [1, 2, None],
    "auroc": [0.25, None, 1e-300],
    "clear": [True, None, False],
    "nothing": [None, None, None],
    "mixed": [1, 2.5, None],
    "huge": [2**63, 1, None],
}


def test_packing_and_unpacking_change_nothing() -> None:
    out = io.BytesIO()
    packed_columns.pack(COLUMNS, out)
    found = packed_columns.unpacked(out.getvalue())
    assert {name: list(column) for name, column in found.items()} == COLUMNS
    assert [type(value) for value in found["rank"]] == [int, int, type(None)]
    assert found["clear"][0] is True and found["auroc"][:2] == [0.25, None] and len(found["nothing"]) == 3


def test_what_is_cut_short_is_not_taken_for_whole() -> None:
    out = io.BytesIO()
    packed_columns.pack(COLUMNS, out)
    with pytest.raises(ValueError, match="cut short"):
        packed_columns.unpacked(out.getvalue()[:-1])


def test_a_large_table_reads_as_a_small_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**COLUMNS, "huge": [3, 1, None]}
    pq.write_table(pa.table(table), tmp_path / "features.parquet")
    small = feature_table.load(tmp_path)
    monkeypatch.setattr(feature_table, "LARGE", 0)
    large = feature_table.load(tmp_path)
    assert small is not None and large is not None
    assert [large.row(at) for at in range(3)] == [small.row(at) for at in range(3)]
    assert large.chosen("auroc > .1 & clear", 1) == small.chosen("auroc > .1 & clear", 1)


def test_a_large_file_that_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_table, "LARGE", 0)
    (tmp_path / "features.parquet").write_bytes(b"PAR1 cut")
    assert feature_table.load(tmp_path) is None


def test_no_module_of_the_folder_one_is_in_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study from elsewhere may hold a json.py; the app is most often started in its folder."""
    (tmp_path / "json.py").write_text("import pathlib; pathlib.Path(__file__).with_name('went-off').touch()")
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
    monkeypatch.chdir(tmp_path)
    assert list(packed_columns.read(tmp_path / "t.parquet")["a"]) == [1, 2]
    assert not (tmp_path / "went-off").exists()
