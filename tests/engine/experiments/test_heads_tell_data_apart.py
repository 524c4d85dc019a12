"""Heads' susceptibilities on builtin:tiny tell prose, code and facts apart, in rows that the classifier has not seen.

A linear classifier is fitted to the vectors of single tokens, which have long tails (hence quantiles) and are mostly noise (hence much
regularisation); the tokens of a row that it has not seen then vote. Its control is fitted to shuffled labels. A token alone says little: it
is told right 45 times of 100, where controls come to 33, give or take 8, since all tokens near zero are given one label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from in_process import run_tables

pytestmark = pytest.mark.usefixtures("read_once")
ROWS, CONTEXT = 16, 16
CONTROLS = 30
"""So that chance alone would pass once in 31 tries."""
HEADS = ["l0h1", "l2h0", "l3h3"]

TABLES: dict[str, Any] = {
    "kind": "susceptibilities",
    "name": "apart",
    "seed": 5,
    "model": {"source": "builtin:tiny"},
    "data": {
        name: {"source": f"builtin:{name}", "context": CONTEXT, "rows": 2 * ROWS if name == "prose" else ROWS}
        for name in ("prose", "code", "facts")
    },
    "params": {
        "restrictions": HEADS,
        "grouped_heads": "own",
        "lr": 1e-3,
        "n_beta": 30.0,
        "localization": 1000.0,
        "num_chains": 2,
        "num_draws": 10,
        "num_burnin_steps": 3,
        "num_steps_bw_draws": 1,
        "batch_size": ROWS,
        "num_init_loss_batches": 2,
        "sampling_data": "prose",
        "include_sampling_data": True,
        "observables": {"prose": 2, "code": 1, "facts": 1},
    },
    "compute": {"threads": 1, "chains": "serial"},
}


def rows_told(x: np.ndarray, y: np.ndarray, row: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows told right by their tokens' votes, each half of the rows by a classifier fitted to `labels` of the other half."""
    right = []
    for half in (0, 1):
        seen, group = row % 2 == half, y * (row.max() + 1) + row
        model = make_pipeline(QuantileTransformer(n_quantiles=50, output_distribution="normal"), LogisticRegression(C=0.01, max_iter=500))
        votes = model.fit(x[seen], labels[seen]).predict_log_proba(x[~seen])
        for one in np.unique(group[~seen]):
            mine = group[~seen] == one
            right.append(model.classes_[votes[mine].sum(0).argmax()] == y[~seen][mine][0])
    return float(np.mean(right))


def test_a_linear_classifier_beats_those_trained_on_shuffled_labels(tmp_path: Path) -> None:
    run_tables(TABLES, tmp_path / "run")
    found = xr.open_datatree(tmp_path / "run" / "susceptibilities.zarr", engine="zarr", consolidated=False)["susceptibilities"]
    kept = found["batch"].values < ROWS  # as many rows of each
    x, y, row = (found[name].values[kept] for name in ("sus", "dataset_id", "batch"))
    assert x.shape == (3 * ROWS * CONTEXT, len(HEADS))
    rng = np.random.default_rng(0)
    told, shuffled = rows_told(x, y, row, y), [rows_told(x, y, row, rng.permutation(y)) for _ in range(CONTROLS)]
    assert told > max(shuffled), f"{told:.2f} against {np.mean(shuffled):.2f}, at most {max(shuffled):.2f}"
    assert told > 0.6, "of three kinds of text"
