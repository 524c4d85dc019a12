"""The kind logit_lens on the embedded model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.runtime.context import Interrupted

FACT = {"prompt": "The capital of France is", "answer": " Paris"}


def test_the_model_makes_up_its_mind_and_a_stopped_run_goes_on_to_the_same(tmp_path):
    done = run_tiny("logit_lens", FACT, tmp_path / "run")
    values = done.result.values
    assert values["layers"] == [0, 1, 2, 3] and values["top_token"][-1] == " Paris"
    assert values["answer_prob"][-1] > 0.9 and values["kl_to_end"][-1] == pytest.approx(0, abs=1e-6)
    first = values["crossover_layer"]
    assert values["answer_rank"][first] == 0 and all(rank > 0 for rank in values["answer_rank"][:first])
    json.dumps(values, allow_nan=False)
    orders = iter(["go", "stop"])
    with pytest.raises(Interrupted):
        run_tiny("logit_lens", FACT, tmp_path / "again", poll=lambda: next(orders))
    assert run_tiny("logit_lens", FACT, tmp_path / "again").result.digests == done.result.digests


def test_positions_and_a_missing_answer(tmp_path):
    values = run_tiny("logit_lens", {"prompt": FACT["prompt"], "positions": [-1, 3]}, tmp_path / "run").result.values
    assert values["tokens"] == [" France", " is"] and values["answer"] == " Paris"
    assert np.isfinite(values["entropy"]).all()
    with pytest.raises(UserError, match="tokens 0 to 4"):
        run_tiny("logit_lens", {"prompt": FACT["prompt"], "positions": [9]}, tmp_path / "two")
    with pytest.raises(UserError, match="is 2 tokens"):
        run_tiny("logit_lens", {**FACT, "answer": " Paris is"}, tmp_path / "three")


TUNED = {**FACT, "lens": "tuned", "fit_steps": 30, "fit_lr": 3e-3}
TEXT = {"train": {"source": "builtin:facts", "context": 24, "rows": 60}}


def test_a_tuned_lens_is_never_worse_and_is_kept_for_other_runs(tmp_path):
    done = run_tiny("logit_lens", TUNED, tmp_path / "run", data=TEXT)
    values, held = done.result.values, done.result.values["held_out"]
    assert all(tuned <= logit for tuned, logit in zip(held["tuned_kl"], held["logit_kl"], strict=True))
    assert held["tuned_kl"][0] < 0.9 * held["logit_kl"][0] and held["identity_layers"] == [] and held["rows"] == 6
    plain = run_tiny("logit_lens", FACT, tmp_path / "plain").result
    assert plain.values["tuned"] is None and values["answer_prob"] == plain.values["answer_prob"]
    assert values["tuned"]["answer_prob"] != values["answer_prob"] and values["tuned"]["kl_to_end"][-1] == pytest.approx(0, abs=1e-6)
    assert "Tuned lens" in done.result.report and "held-out tokens" in done.result.report
    json.dumps(values, allow_nan=False)
    assert list(values["domains"]) == ["builtin:prose", "builtin:code"], "but not the facts, which it was fitted to"
    prose = values["domains"]["builtin:prose"]
    assert prose["rows"] == 32 and len(prose["logit_kl"]) == len(prose["tuned_kl"]) == 4 and prose["tuned_kl"][-1] < 1e-5
    assert ("here**, on `builtin:prose`: L" in done.result.report) == bool(prose["worse_layers"])
    assert done.result.uncertainty["domains.builtin:prose.difference"].has_bar
    read = run_tiny("logit_lens", {**FACT, "lens": "tuned", "tuned_from": "run"}, tmp_path / "read").result
    assert read.values["tuned"] == values["tuned"] and read.values["held_out"] is None
    assert read.values["domains"] == values["domains"], "as it was measured when it was fitted"
    assert read.digests == done.result.digests


def test_a_stopped_or_killed_fit_ends_with_the_same_lens(tmp_path):
    done = run_tiny("logit_lens", TUNED, tmp_path / "run", data=TEXT)
    orders = iter(["go"] * 11 + ["stop"])
    with pytest.raises(Interrupted):
        run_tiny("logit_lens", TUNED, tmp_path / "again", data=TEXT, poll=lambda: next(orders))
    assert run_tiny("logit_lens", TUNED, tmp_path / "again", data=TEXT, cut=9) is None
    assert run_tiny("logit_lens", TUNED, tmp_path / "again", data=TEXT).result.digests == done.result.digests


def test_a_lens_that_does_worse_says_where(tmp_path):
    params = {**TUNED, "fit_steps": 8, "fit_lr": 0.1, "domains": ["builtin:facts", "other"]}  # a rate at which it does not converge
    text = {"train": {"source": "builtin:code", "context": 24, "rows": 60}, "other": {"source": "builtin:prose", "context": 24, "rows": 40}}
    done = run_tiny("logit_lens", params, tmp_path / "run", data=text).result
    assert list(done.values["domains"]) == ["builtin:facts", "other"]
    worse = {name: row["worse_layers"] for name, row in done.values["domains"].items()}
    assert any(worse.values()) and done.report.count("**Worse than the logit lens here**") >= 1
    assert all(row["tuned_kl"][i] > row["logit_kl"][i] for name, row in done.values["domains"].items() for i in worse[name])


def test_a_lens_is_fitted_in_bfloat16(tmp_path):
    model = {"source": "builtin:tiny", "device": "cpu", "dtype": "bfloat16"}
    done = run_tiny("logit_lens", {**TUNED, "fit_steps": 5, "domains": []}, tmp_path / "run", data=TEXT, model=model).result
    assert done.values["held_out"]["tuned_kl"][0] <= done.values["held_out"]["logit_kl"][0] and done.values["domains"] == {}


@pytest.mark.parametrize(
    "changes, tables, error, said",
    [
        ({"domains": ["builtin:fact"]}, {"data": TEXT}, ManifestError, "Did you mean 'builtin:facts'"),
        ({}, {}, ManifestError, "fitted to text; add it, or give tuned_from"),
        ({"data": "tests"}, {"data": TEXT}, ManifestError, "none of the manifest's data: train"),
        ({"lens": "logit", "tuned_from": "."}, {}, ManifestError, "set lens = 'tuned'"),
        ({"tuned_from": "nowhere"}, {}, ManifestError, "no such file or folder"),
        ({"tuned_from": "."}, {}, ManifestError, "is no safetensors file"),
        ({}, {"data": {"train": {"source": "builtin:facts", "context": 24, "rows": 1}}}, UserError, "at least two"),
        ({}, {"data": {"train": {"source": "builtin:prose", "context": 3000, "rows": 2}}}, UserError, "the model reads at most"),
    ],
)
def test_lenses_that_cannot_be(tmp_path, changes, tables, error, said):
    with pytest.raises(error, match=said):
        run_tiny("logit_lens", TUNED | changes, tmp_path / "run", **tables)
