"""What devinterp made of its own samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

RECORDED = Path(__file__).parent / "recorded" / "devinterp.npz"


@pytest.fixture(scope="session")
def recorded() -> Mapping[str, Any]:
    """What devinterp 2.0.1 sampled and made of it (references/record_devinterp.py)."""
    with np.load(RECORDED) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="session")
def devinterp_stores(recorded: Mapping[str, Any]) -> dict[str, xr.DataTree]:
    """Its stores, as trees."""
    trees = {}
    for name in {key.split("/")[1] for key in recorded if key.startswith("attrs/")}:
        prefix = f"store/{name}/"
        arrays = {
            key.removeprefix(prefix): (tuple(recorded["dims/" + key.removeprefix("store/")].tolist()), recorded[key])
            for key in recorded
            if key.startswith(prefix)
        }
        trees[name] = xr.DataTree(xr.Dataset(arrays, attrs=json.loads(str(recorded[f"attrs/{name}"]))))
    return {name: trees[name] for name in ("full", "l0h1", "l1 mlp")}
