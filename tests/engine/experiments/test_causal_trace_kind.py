"""The kind causal_trace on the embedded model: what it finds, what it leaves behind, going on after a kill, and what it refuses."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import xarray as xr

from in_process import run_tiny
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.events import Artifact, Metrics
from interp_tui_engine.patching.pooling import by_role, pool, role
from interp_tui_engine.runtime.context import Interrupted

FACT = {
    "clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo", "rows": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    return run_tiny("causal_trace", FACT, tmp_path_factory.mktemp("trace") / "run")


def test_the_fact_moves_from_its_subject_to_the_last_token(traced):
    values = traced.result.values
    resid = np.array(values["recovery"]["resid_post"])
    assert values["tokens"] == ["The", " capital", " of", " France", " is"] and values["layers"] == [0, 1, 2, 3]
    assert values["clean_metric"] > 5 and values["corrupt_metric"] < -5
    assert (resid[:, :3] == 0).all()
    assert resid[0, 3] > 0.8 and resid[3, 3] == pytest.approx(0, abs=1e-4)
    assert resid[0, 4] < 0.1 and resid[3, 4] == pytest.approx(1, abs=1e-4)
    assert values["peak"]["site"] == "resid_post" and values["peak"]["token"] == " France"
    heads = np.array(values["recovery_heads"])
    assert heads.shape == (4, 5, 8)
    top = values["top_heads"][0]
    layer, head = (int(part) for part in top["head"][1:].split("H"))
    assert abs(heads[layer, top["position"], head]) == np.abs(heads).max()


def test_everything_is_written_before_it_is_named(traced):
    tree = xr.open_datatree(traced.folder.path / "trace.zarr", engine="zarr", consolidated=False)
    patched = tree["patched_resid_post"].to_numpy()
    assert patched.shape == (1, 4, 5) and np.isfinite(patched).all()
    assert set(traced.result.digests) == {f"trace.zarr/{name}" for name in tree.data_vars}
    figures = [event.path for event in traced.events if isinstance(event, Artifact)]
    assert figures and all((traced.folder.path / path).read_text().startswith("<svg") for path in figures)
    assert "France" in traced.result.report and "recovery" in traced.result.report
    json.dumps(dict(traced.result.values), allow_nan=False)
    cells = [event for event in traced.events if isinstance(event, Metrics) and event.series == "cells"]
    assert sum(len(event.values["cells"]) for event in cells) == 4 * 2 * (3 + 8)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_resumed_run_ends_with_the_same_digests(traced, tmp_path, how):
    if how == "stopped":
        orders = itertools.chain(["go"] * 3, itertools.repeat("stop"))
        with pytest.raises(Interrupted):
            run_tiny("causal_trace", FACT, tmp_path / "run", poll=lambda: next(orders))
        assert (tmp_path / "run/shards/0/checkpoint/steps.npz").is_file()
    else:
        assert run_tiny("causal_trace", FACT, tmp_path / "run", cut=9) is None
    again = run_tiny("causal_trace", FACT, tmp_path / "run")
    assert again.result.digests == traced.result.digests
    told = [{e.step for e in run.events if isinstance(e, Metrics) and e.series == "cells"} for run in (traced, again)]
    assert told[0] == told[1]


def test_many_pairs_give_means_and_intervals(tmp_path):
    rows = [("France", "Japan", "Paris", "Tokyo"), ("Italy", "Egypt", "Rome", "Cairo"), ("Spain", "China", "Madrid", "Beijing")]
    lines = [
        {"clean": f"The capital of {a} is", "corrupt": f"The capital of {b} is", "answer": x, "counterfactual": y} for a, b, x, y in rows
    ]
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    params = {"pairs": "facts.jsonl", "sites": ["resid_post"], "heads": False, "metric": "prob", "long_answers": "first"}
    done = run_tiny("causal_trace", params, tmp_path / "run")
    values = done.result.values
    mean, low, high = (np.array(part) for part in (values["recovery"]["resid_post"], *values["interval"]["resid_post"].values()))
    assert values["pairs"] == 3 and ((low <= mean + 1e-9) & (mean <= high + 1e-9)).all()


def test_noise_on_the_subject_hurts_and_its_embedding_restores_all(tmp_path):
    params = {**FACT, "corruption": "noise", "subject": "France", "noise_samples": 3, "sites": ["resid_pre"], "heads": False}
    values = run_tiny("causal_trace", params, tmp_path / "run").result.values
    assert values["corrupt_metric"] < values["clean_metric"] - 1
    assert values["recovery"]["resid_pre"][0][3] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"corrupt": "The capital of Japan"},
            "must be as many.*clean    The\\| capital.*first differ at token 3: ' France' against ' Japan'",
        ),
        ({"corrupt": FACT["clean"]}, "clean and corrupt are the same text"),
        ({"answer": " Paris is"}, "is 2 tokens: ' Paris' · ' is'.*long_answers = 'first'"),
        ({"answer": " Tokyo"}, "answer and counterfactual share 'Tokyo'"),
        ({"clean": "The capital of France is " * 900, "corrupt": "The capital of Japan is " * 900}, "the model reads at most"),
    ],
)
def test_prompts_that_cannot_be_traced(tmp_path, changes, said):
    import re

    with pytest.raises(UserError) as raised:
        run_tiny("causal_trace", FACT | changes, tmp_path / "run")
    assert re.search(said, str(raised.value), re.DOTALL), raised.value


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"sites": ["resid_pots"]}, "Did you mean 'resid_post'"),
        ({"sites": ["embed"]}, "cannot be used here"),
        ({"clean": None}, "params.clean: is missing; or give pairs"),
        ({"counterfactual": None}, "'logit_diff' needs it"),
        ({"pairs": "nowhere.jsonl", "clean": None, "corrupt": None, "answer": None}, "no such file"),
        ({"corruption": "noise"}, "falls on the subject's tokens"),
        ({"corruption": "noise", "subject": "Peru"}, "does not stand in clean"),
        ({"long_answers": "sequence"}, "cannot score a sequence"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, changes, said):
    params = {key: value for key, value in (FACT | changes).items() if value is not None}
    with pytest.raises(ManifestError, match=said):
        run_tiny("causal_trace", params, tmp_path / "run")


def test_a_sequence_is_scored_as_a_whole(tmp_path):
    params = {**FACT, "answer": " Paris is", "metric": "logprob", "long_answers": "sequence", "sites": ["resid_post"], "heads": False}
    values = run_tiny("causal_trace", params, tmp_path / "run").result.values
    assert values["clean_metric"] > values["corrupt_metric"] and len(values["tokens"]) == 5


def test_pooling_is_a_ratio_of_sums_with_an_interval_over_pairs():
    gains, effects = np.array([[1.0, np.nan], [6.0, 2.0]]), np.array([2.0, 4.0])
    mean, low, high = pool(gains, effects, resamples=4000, seed=1)
    assert mean == pytest.approx([7 / 6, 0.5])
    # pairs drawn twice give 0.5, 7/6 or 1.5 with chances ¼, ½ and ¼; Student's t of one degree of freedom
    away = 12.706 * np.sqrt(2 * np.average(np.square([0.5, 7 / 6, 1.5] - np.array(13 / 12)), weights=[1, 2, 1]))
    assert (low[0], high[0]) == pytest.approx((7 / 6 - away, 7 / 6 + away), rel=0.05)
    assert np.isnan([low[1], high[1]]).all(), "of one pair nothing is known"


def test_intervals_of_pooled_cells_cover_few_pairs_and_those_that_share_prompts():
    """Percentiles of resampled pairs held the truth in 80 % of cases of four pairs, in 87 % of eight."""
    trials, held = 200, {"four": 0, "eight": 0, "sharing": 0, "sharing, unsaid": 0}
    for seed in range(trials):
        draw = np.random.default_rng(seed)
        both = np.array([draw.choice(12, 2, replace=False) for _ in range(24)])
        reach, peculiar, noise = draw.uniform(1, 3, 24), draw.normal(0, 0.3, 12), draw.normal(0, 0.3, 24)
        alone, sharing = 0.6 * reach + noise, 0.6 * reach + noise + peculiar[both].sum(1)
        for name, gains, pairs, prompts in (
            ("four", alone, 4, None),
            ("eight", alone, 8, None),
            ("sharing", sharing, 24, [tuple(pair) for pair in both.tolist()]),
            ("sharing, unsaid", sharing, 24, None),
        ):
            found = pool(gains[:pairs, None], reach[:pairs], resamples=200, seed=seed, prompts=prompts)
            held[name] += float(found.low[0]) <= 0.6 <= float(found.high[0])
    assert min(held["four"], held["eight"], held["sharing"]) > 0.89 * trials and held["sharing, unsaid"] < 0.8 * trials


def test_roles_name_positions_of_prompts_of_any_length():
    assert [role(p, 2, 4, 6) for p in range(2, 7)] == ["first changed", "between", "last changed", "after", "last token"]
    grid = np.arange(12.0).reshape(1, 2, 6)
    found = by_role(grid, [["", "first changed", "between", "between", "last changed", "last token"]])
    assert found.shape == (1, 2, 5) and found[0, 0].tolist()[:3] == [1.0, 2.5, 4.0] and np.isnan(found[0, 0, 3])
