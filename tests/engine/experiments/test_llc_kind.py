"""What an llc run says of itself: its control, its acceptance, what its λ̂ may be used for, and how sure it is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from in_process import run_tables
from interp_tui_engine import manifest
from interp_tui_engine.experiments._sampling import config_of

pytestmark = pytest.mark.usefixtures("read_once")

TABLES: dict[str, Any] = {
    "kind": "llc",
    "name": "checked",
    "seed": 5,
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:prose", "context": 16, "rows": 64}},
    "params": {
        "lr": 1e-4, "n_beta": 1000.0, "localization": 1000.0, "num_chains": 2, "num_draws": 24, "num_burnin_steps": 24,
        "batch_size": 4, "num_init_loss_batches": 2,
    },
    "compute": {"chains": "serial", "threads": 1},
}  # fmt: skip


def with_params(**params: Any) -> dict[str, Any]:
    return {**TABLES, "params": {**TABLES["params"], **params}}


def test_a_run_that_noise_and_localization_hold_is_not_usable(tmp_path: Path) -> None:
    result, events = run_tables(with_params(n_beta=1.0), tmp_path / "run")
    values = result.values
    assert not values["usable"] and "noise and localization hold the chains" in values["verdict"]
    assert values["llc_mean"] == pytest.approx(values["control_rise"], rel=0.3), "nβ = 1: the rise itself, and it is the control's"
    assert result.uncertainty["llc_mean"].clear is False and result.uncertainty["llc_mean"].control == pytest.approx(values["control_rise"])
    told = [event for event in events if event.type == "metrics" and event.series == "verdict"]
    assert [event.values["text"] for event in told] == [values["verdict"]]
    assert values["verdict"].lower() in result.report.lower()
    json.dumps(values, allow_nan=False)


def test_it_looks_at_the_acceptance_unless_told_not_to(tmp_path: Path) -> None:
    assert config_of(manifest.resolve(TABLES)).acceptance_every == 6, "four looks after burn-in"
    assert config_of(manifest.resolve(with_params(acceptance_every=0))).acceptance_every == 0
    assert config_of(manifest.resolve(with_params(sampling_method="sgnht"))).acceptance_every == 0, "which has no Langevin steps"
    assert config_of(manifest.resolve({**TABLES, "kind": "sample"})).acceptance_every == 0
    result, _ = run_tables(with_params(num_draws=8, num_burnin_steps=0), tmp_path / "run")
    assert 0 <= result.values["acceptance"] <= 1 and 0 <= result.values["acceptance_std_error"] < 0.5
    assert result.uncertainty["acceptance"].std_error == result.values["acceptance_std_error"]
    bar = result.uncertainty["llc_mean"]
    assert bar.over == "2 chains × 8 draws" and bar.low < result.values["llc_mean"] < bar.high


def test_a_negative_estimate_is_said_to_be_none(tmp_path: Path) -> None:
    # An untrained model falls down the gradient, and all the faster the colder it is.
    tables = {**with_params(n_beta=30_000.0, localization=1.0, lr=1e-6), "model": {"source": "builtin:tiny", "revision": "step-0"}}
    result, _ = run_tables(tables, tmp_path / "run")
    assert result.values["llc_mean"] < 0 and not result.values["usable"]
    assert "λ̂ is negative" in result.values["verdict"] and result.uncertainty["llc_mean"].clear is False


def test_chains_that_have_left_the_model_behind_are_told_by_uniform_guessing(tmp_path: Path) -> None:
    result, _ = run_tables(with_params(localization=0.0, lr=3e-3, n_beta=1.0, num_draws=8, num_burnin_steps=8), tmp_path / "run")
    assert result.values["loss_mean"] > math.log(2048)
    assert any("uniform guessing" in why for why in result.values["reasons"]) and not result.values["usable"]


def test_init_is_said_in_result_and_report(tmp_path: Path) -> None:
    result, _ = run_tables(with_params(baseline="init", num_draws=8, num_burnin_steps=0), tmp_path / "run")
    assert result.values["baseline"] == "init" and "baseline = 'init'" in result.report
    assert not any(name.endswith("init_loss_micro") for name in result.digests)
