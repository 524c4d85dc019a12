"""Heads' susceptibilities on builtin:tiny tell prose, code and facts apart, token by token, in rows that the classifier has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from in_process import in_process
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.usefixtures("read_once")
ROWS, CONTEXT = 16, 16
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


def accuracy(x: np.ndarray, y: np.ndarray, seen: np.ndarray, labels: np.ndarray) -> float:
    """On tokens of rows not seen, of a linear classifier fitted to `labels` of those seen."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight="balanced"))
    model.fit(x[seen], labels[seen])
    return float((model.predict(x[~seen]) == y[~seen]).mean())


def test_a_linear_classifier_beats_one_trained_on_shuffled_labels(tmp_path: Path) -> None:
    in_process(tmp_path / "run", TABLES)
    found = xr.open_datatree(tmp_path / "run" / "susceptibilities.zarr", engine="zarr", consolidated=False)["susceptibilities"]
    kept = found["batch"].values < ROWS  # as many rows of each
    x, y, row = (found[name].values[kept] for name in ("sus", "dataset_id", "batch"))
    assert x.shape == (3 * ROWS * CONTEXT, len(HEADS))
    seen, rng = row % 2 == 0, np.random.default_rng(0)
    told = accuracy(x, y, seen, y)
    shuffled = [accuracy(x, y, seen, rng.permutation(y)) for _ in range(12)]
    tokens = int((~seen).sum())
    # a guess of three is right in 1/3 of 384 tokens, give or take 2.4 %
    assert told > np.mean(shuffled) + 4 * np.sqrt(2 / 9 / tokens), f"{told:.2f} against {np.mean(shuffled):.2f}"
