"""`export` to Parquet, CSV tables and SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from cli_tools import Cli, cli
from posterior_runs import LENGTH, PARTS, ROWS, influence, susceptibilities

from interp_tui_engine.events import Metrics
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]


def test_tokens_of_susceptibilities(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    folder = susceptibilities(make_run)
    answer = cli("export", "heads", "--to", "parquet", "-o", tmp_path / "s.parquet")
    assert answer.code == 0 and answer.out.strip() == str(tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet").to_pydict()
    sus: Any = zarr.open_array(folder.path / "susceptibilities.zarr" / "susceptibilities" / "sus", mode="r")[:]
    assert list(table)[:5] == ["data", "row", "position", "token_id", "token"] and list(table)[5 : 5 + len(PARTS)] == PARTS
    assert len(table["row"]) == 3 * ROWS * LENGTH and table["data"][0] == "code" and table["data"][-1] == "prose"
    np.testing.assert_array_equal(np.array(table["l0 mlp"], np.float32), sus[:, PARTS.index("l0 mlp")])
    ids: Any = zarr.open_array(folder.path / "susceptibilities.zarr" / "context" / "input_ids", mode="r")[:]
    assert table["token_id"][:LENGTH] == ids[1 : LENGTH + 1].tolist(), "a response belongs to the token that was predicted"
    rows = list(csv.DictReader(io.StringIO(cli("export", "heads", "--to", "csv", "--what", "tokens").out)))
    assert len(rows) == len(table["row"]) and float(rows[7]["embed"]) == pytest.approx(table["embed"][7])


def test_pairs_of_influence(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    folder = influence(make_run)
    assert cli("export", "which", "--to", "parquet", "--what", "pairs", "-o", tmp_path / "b.parquet").code == 0
    table = pq.read_table(tmp_path / "b.parquet").to_pydict()
    matrix: Any = zarr.open_array(folder.path / "matrix.zarr" / "influences", mode="r")[:]
    assert len(table["influence"]) == 24 * 24
    assert table["influence"][24 * 3 + 5] == pytest.approx(float(matrix[3, 5])) and (table["row_1"][77], table["row_2"][77]) == (3, 5)
    assert table["data_2"][8] == "facts"


def test_any_other_kind_has_its_numbers_in_parquet(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("a", result={"kind": "llc", "llc_mean": 38.2, "note": "high"}, events=[Metrics("estimate", 3, {"llc": 2.0})])
    assert cli("export", "a", "--to", "parquet", "-o", tmp_path / "a.parquet").code == 0
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {"series": "estimate", "step": 3.0, "key": "llc", "index": None, "value": 2.0, "text": None} in rows
    assert {"series": "result", "step": None, "key": "note", "index": None, "value": None, "text": "high"} in rows


def test_figures_are_named_where_there_are_several(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("a")
    assert "has no figures" in cli("export", "a", "--to", "svg").err
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "loss.svg").write_text("<svg>1</svg>\n")
    assert cli("export", "a", "--to", "svg").out == "<svg>1</svg>\n"
    (folder.path / "figures" / "scan.svg").write_text("<svg>2</svg>\n")
    answer = cli("export", "a", "--to", "svg")
    assert answer.code == 2 and "2 figures: loss, scan" in answer.err
    assert "Did you mean 'scan'?" in cli("export", "a", "--to", "svg", "--what", "scn").err
    assert cli("export", "a", "--to", "svg", "--what", "scan", "-o", tmp_path / "f.svg").code == 0
    assert (tmp_path / "f.svg").read_text() == "<svg>2</svg>\n"


def test_what_cannot_be_written_says_so_and_leaves_nothing(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    folder = susceptibilities(make_run)
    assert "name a file: -o" in cli("export", "heads", "--to", "parquet").err
    assert "has no table 'pairs'" in cli("export", "heads", "--to", "csv", "--what", "pairs").err
    (folder.path / "susceptibilities.zarr" / "susceptibilities" / "sus" / "zarr.json").unlink()
    answer = cli("export", "heads", "--to", "parquet", "-o", tmp_path / "s.parquet")
    assert answer.code == 2 and "has no array" in answer.err and not (tmp_path / "s.parquet").exists()
