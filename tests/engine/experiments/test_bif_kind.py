"""The kind `bif`: its run folder, stopped while it correlates and resumed, and what it says of bad requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from in_process import run_tables
from interp_tui_engine import manifest
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.estimators import bif as estimator
from interp_tui_engine.estimators.bif import compute_bif
from interp_tui_engine.runtime.context import Interrupted
from interp_tui_engine.samplers.chains.store import open_samples

pytestmark = pytest.mark.usefixtures("read_once")

TABLES: dict[str, Any] = {
    "kind": "bif",
    "name": "small",
    "seed": 3,
    "model": {"source": "builtin:tiny"},
    "data": {
        "prose": {"source": "builtin:prose", "context": 8, "rows": 8},
        "2code": {"source": "builtin:code", "context": 8, "rows": 4},
    },
    "params": {
        "restriction": "l3 mlp",
        "lr": 1e-4,
        "n_beta": 20.0,
        "localization": 100.0,
        "num_chains": 2,
        "num_draws": 12,
        "batch_size": 4,
        "num_init_loss_batches": 2,
        "sampling_data": "prose",
        "observables": {"prose": 1, "2code": 1},
        "method": "token",
    },
    "compute": {"threads": 1, "chains": "serial"},
}


@pytest.fixture(scope="module")
def whole(read_once: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Any]]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, *run_tables(TABLES, path)


def test_what_it_writes_is_what_the_estimator_makes_of_its_samples(whole: Any) -> None:
    path, result, _ = whole
    values = result.values
    samples = open_samples(path / "samples.zarr")
    found = xr.open_zarr(path / "bif.zarr", consolidated=False)
    np.testing.assert_array_equal(found["influences"].values, compute_bif(samples)["influences"].values)
    assert values["shape"] == [8, 8, 8, 8] and values["observables"] == ["2code", "prose"] and values["rows"] == [4, 4]
    matrix = xr.open_zarr(path / "matrix.zarr", consolidated=False)["influences"].values
    np.testing.assert_allclose(matrix, found["influences"].values.mean((2, 3)), rtol=0, atol=1e-6)
    pairs = values["top_pairs"]
    assert len(pairs) == 8 * 7 // 2 and all(pair["row_1"] < pair["row_2"] for pair in pairs)
    off = np.abs(matrix[np.triu_indices(8, 1)])
    assert [abs(pair["value"]) for pair in pairs] == pytest.approx(sorted(off.tolist(), reverse=True))
    assert values["between"]["2code"]["prose"] == pytest.approx(float(matrix[:4, 4:].mean()), abs=1e-6)
    assert {pair["data_1"] for pair in pairs} <= {"2code", "prose"} and pairs[0]["text_1"]
    assert "<svg" in (path / "figures" / "influence.svg").read_text() and "| 2code |" in result.report
    json.dumps(values, allow_nan=False)


def test_pairs_say_how_sure_they_are(whole: Any) -> None:
    path, result, _ = whole
    values, stored = result.values, xr.open_zarr(path / "matrix.zarr", consolidated=False)
    assert "effective draws, of 30 at least" in values["no_error"] and f"no error bar: {values['no_error']}" in result.report
    assert values["floor"]["pairs"] == 8 * 7 // 2 and values["token_floor"]["pairs"] == 28 * 64
    clear, cosines = stored["clear"].values.astype(bool), stored["first_order"].values
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-6)
    for pair in values["top_pairs"]:
        one, two = pair["row_1"], pair["row_2"]
        assert pair["std_error"] is None and pair["effective_draws"] > 1
        assert pair["clear"] == clear[one, two] and pair["first_order"] == pytest.approx(cosines[one, two], abs=1e-6)
    assert clear[np.triu_indices(8, 1)].sum() == values["floor"]["clear_pairs"]
    assert result.uncertainty["top_pairs.0.value"].note == values["no_error"]
    assert set(values["agreement"]) == {"halves", "seeds", "with_first_order", "tokens"}


def test_one_chain_has_no_error_bar_and_a_floor_of_other_times(tmp_path: Path) -> None:
    params = TABLES["params"] | {"num_chains": 1, "num_draws": 20, "method": "sequence", "first_order": False, "num_steps_bw_draws": 1}
    result, _ = run_tables(TABLES | {"params": params}, tmp_path / "run")
    assert result.values["no_error"] == "one chain" and result.values["top_pairs"][0]["std_error"] is None
    assert result.values["floor"]["clear_pairs"] >= 0 and result.values["top_pairs"][0]["first_order"] is None
    assert "- no error bar: one chain" in result.report and "one chain: the floor is that of the chain set against itself" in result.report


def test_stopped_between_blocks_and_resumed_gives_equal_digests(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, result, _ = whole
    monkeypatch.setattr(estimator, "CHUNK_BYTES", 4 * 64 * 16)  # blocks of some rows: several where one would do
    uncut, _ = run_tables(TABLES, tmp_path / "uncut")
    mark = tmp_path / "run" / "shards" / "0" / "checkpoint" / "bif.json"
    with pytest.raises(Interrupted):
        run_tables(TABLES, tmp_path / "run", poll=lambda: "stop" if mark.exists() else "go")
    assert 0 < json.loads(mark.read_text())["rows"] < 8
    found, _ = run_tables(TABLES, tmp_path / "run")
    assert found.digests == uncut.digests
    assert found.digests["matrix.zarr/influences"] == result.digests["matrix.zarr/influences"]


@pytest.mark.parametrize(
    ("params", "path", "message"),
    [
        ({"observables": {}}, "params.observables", "names nothing to compare"),
        ({"num_draws": 1, "num_chains": 1}, "params.num_draws", "at least 2"),
        ({"num_draws": 1, "reduce": "mean"}, "params.num_draws", "at least 2"),
        ({"method": "word"}, "params.method", "token"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(params: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ManifestError) as error:
        manifest.resolve(TABLES | {"params": TABLES["params"] | params})
    assert any(problem.path == path and message in str(problem) for problem in error.value.problems), str(error.value)
