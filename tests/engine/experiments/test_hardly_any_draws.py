"""Samplings that tell next to nothing: one chain, one draw, draws that never vary, few digits. Nothing is made up, and why is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from in_process import run_tables
from interp_tui_engine.errors import RunFailed

pytestmark = pytest.mark.usefixtures("read_once")

PARAMS: dict[str, Any] = {
    "restriction": "l3 mlp",
    "lr": 1e-4,
    "n_beta": 20.0,
    "localization": 100.0,
    "num_chains": 2,
    "num_draws": 6,
    "batch_size": 4,
    "num_init_loss_batches": 2,
    "sampling_data": "prose",
    "observables": {"prose": 1, "code": 1},
}
PARTS = {"restrictions": ["l3 mlp"], "restriction": None}
DEVELOPMENT = {"revisions": ["step-250", "final"], "seeds": 1, **PARTS}
ONE_CHAIN, ONE_DRAW, STILL = {"num_chains": 1}, {"num_chains": 1, "num_draws": 1}, {"lr": 1e-30}


def tables(kind: str, params: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    rows = {"context": 8, "rows": 8}
    return {
        "kind": kind,
        "name": "few",
        "model": {"source": "builtin:tiny", "dtype": dtype, **({} if kind == "development" else {"revision": "final"})},
        "data": {"prose": {"source": "builtin:prose", **rows}, "code": {"source": "builtin:code", **rows}},
        "params": {key: value for key, value in (PARAMS | params).items() if value is not None},
        "compute": {"threads": 1},
    }


@pytest.mark.parametrize(
    ("kind", "params", "dtype", "why"),
    [
        ("llc", ONE_CHAIN, "float32", "R̂"),
        ("llc", ONE_DRAW, "float32", "R̂ is not defined"),
        ("llc", STILL, "float32", "not usable"),
        ("llc", {"n_beta": 0.0}, "float32", "not usable"),
        ("llc", {}, "bfloat16", "usable"),
        ("llc", {}, "float16", "usable"),
        ("sample", ONE_DRAW, "float32", "no error bar"),
        ("bif", ONE_CHAIN | {"num_draws": 2, "method": "sequence"}, "float32", "no error bar: one chain"),
        ("bif", STILL | {"method": "sequence"}, "float32", "no error bar: no loss varies over the draws"),
        ("bif", STILL | {"method": "token", "covariance": True}, "float32", "no error bar: no loss varies over the draws"),
        ("bif", {"method": "token"}, "bfloat16", "no error bar"),
        ("susceptibilities", PARTS | ONE_DRAW, "float32", "no error bar: one chain"),
        ("susceptibilities", PARTS | STILL, "float32", "no error bar"),
        ("susceptibilities", PARTS, "bfloat16", "no error bar"),
        ("development", DEVELOPMENT | ONE_DRAW, "float32", "no error bar"),
    ],
)
def test_what_is_not_known_is_said(kind: str, params: dict[str, Any], dtype: str, why: str, tmp_path: Path) -> None:
    result, _ = run_tables(tables(kind, params, dtype), tmp_path / "run")
    text = result.report + " ".join(f"no error bar: {bar.note}" for bar in result.uncertainty.values() if not bar.has_bar)
    assert why.casefold() in text.casefold()
    assert not re.findall(r"\b(?:nan|inf)\b", result.report)
    assert not [name for name, bar in result.uncertainty.items() if bar.clear is True and not bar.has_bar]
    assert result.values.get("usable") is not True


@pytest.mark.parametrize("kind", ["llc", "bif", "susceptibilities"])
def test_chains_that_all_fail_fail_the_run_with_advice(kind: str, tmp_path: Path) -> None:
    own = PARTS if kind == "susceptibilities" else {}
    with pytest.raises(RunFailed, match=r"all 2 chains.* failed.*the loss is not finite") as failed:
        run_tables(tables(kind, {"lr": 1e4, "localization": 0.0, **own}, "float16"), tmp_path / "run")
    assert "lower lr" in failed.value.advice
