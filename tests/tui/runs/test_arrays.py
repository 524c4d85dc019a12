"""Arrays of a run: read as far as they can be, whatever stands in a store that somebody else may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from interp_tui.export import tables
from interp_tui.runs import arrays
from interp_tui.runs.arrays import read_array
from interp_tui_engine.errors import UserError

VALUES = np.arange(12.0, dtype=np.float32).reshape(3, 4)
MakeRun = Any


@pytest.fixture
def store(tmp_path: Path) -> Path:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w")
    group.create_array("x", shape=VALUES.shape, chunks=(2, 2), dtype="float32")[:] = VALUES
    return tmp_path / "s.zarr"


def changed(store: Path, **values: Any) -> None:
    path = store / "x" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_array_and_regions_of_it(store: Path) -> None:
    for index in ((), (1,), (slice(0, 2), 3), (-1, slice(1, None))):
        found = read_array(store, "x", *index)
        assert found is not None and np.array_equal(found, VALUES[index or ...])
    assert read_array(store, "y") is None and read_array(store, "x", 9) is None


@pytest.mark.parametrize(
    "values",
    [
        *({"shape": None}, {"shape": [3.5, 4]}, {"shape": [10**400, 4]}, {"shape": ["x"]}, {"data_type": "complex128"}, {"data_type": 5}),
        *({"chunk_grid": None}, {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 2]}}}, {"codecs": 5}),
        *({"chunk_key_encoding": None}, {"fill_value": []}, {"dimension_names": 7}, {"codecs": [{"name": "numcodecs.pickle"}]}),
    ],
    ids=lambda values: str(values)[:40],
)
def test_a_damaged_description_is_no_array(store: Path, values: dict[str, Any]) -> None:
    changed(store, **values)
    assert read_array(store, "x") is None


def test_what_would_fill_the_memory_is_not_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(store, shape=[10**9, 10**9])
    assert read_array(store, "x") is None
    found = read_array(store, "x", slice(0, 2), slice(0, 2))
    assert found is not None and np.array_equal(found, VALUES[:2, :2]), "a region of it is"
    monkeypatch.setattr(arrays, "LARGEST", 15)
    assert read_array(store, "x", 0, 0) is None, "its chunk alone takes sixteen bytes"


def test_a_table_of_arrays_that_do_not_fit_is_refused_in_words(make_run: MakeRun) -> None:
    folder = make_run("a", kind="bif", result={"kind": "bif", "observables": ["x"], "rows": ["many"]})
    group = zarr.open_group(folder.path / "matrix.zarr", mode="w")
    group.create_array("influences", shape=VALUES.shape, dtype="float32")[:] = VALUES
    (table,) = tables.tables_of(folder)
    with pytest.raises(UserError, match="do not fit each other"):
        list(table.blocks())
