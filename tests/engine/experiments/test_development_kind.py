"""Development over checkpoints: the numbers of each, and that a stopped run goes on to the same ones."""

from __future__ import annotations

import pytest

from in_process import run_tables, stop_after
from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.experiments.development import EXAMPLE
from interp_tui_engine.experiments.development.compute import fact_accuracy
from interp_tui_engine.experiments.development.report import report
from interp_tui_engine.experiments.development.seeds import merged
from interp_tui_engine.experiments.development.stages import stages
from interp_tui_engine.models.load import load_model
from interp_tui_engine.results.development import DevelopmentResult
from interp_tui_engine.runtime.context import Interrupted

TABLES = {
    "kind": "development",
    "name": "two",
    "model": {"source": "builtin:tiny"},
    "data": {"prose": {"source": "builtin:prose", "context": 16, "rows": 16}, "code": {"source": "builtin:code", "context": 16, "rows": 8}},
    "params": {
        "revisions": ["step-100", "final"], "restrictions": ["l1h0"], "lr": 1e-4, "n_beta": 300.0, "localization": 1000.0, "num_chains": 2,
        "num_draws": 8, "batch_size": 2, "num_init_loss_batches": 2, "sampling_data": "prose", "observables": {"prose": 1, "code": 1},
    },
    "compute": {"chains": "serial", "threads": 1},
}  # fmt: skip


def run(path, looks=None, **params):
    return run_tables({**TABLES, "params": {**TABLES["params"], **params}}, path, poll=stop_after(looks))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("development") / "run"
    result, events = run(path)
    return path, events, result


def test_each_checkpoint_has_its_numbers(done):
    path, events, result = done
    series = result.values["series"]
    assert result.values["revisions"] == ["step-100", "final"]
    sampled = {"llc_mean", "llc_std_error", "init_loss", "rhat", "chi l1h0 code", "covariance l1h0 code"}
    # 16 draws are too few for the others' errors, and curvature is not small beside the localization, so there is no first order
    assert set(series) == {*sampled, "fact_accuracy", "fact_accuracy_std_error"}
    noted = result.uncertainty["series.chi l1h0 code.1"]
    assert noted.std_error is None and "too few" in noted.note and result.uncertainty["series.llc_mean.0"].std_error > 0
    chains = [stage for stage in result.values["stages"] if stage["quantity"].startswith(("chi", "covariance"))]
    assert chains == [], "no stage without errors"
    assert {"init_loss", "fact_accuracy"} <= {stage["quantity"] for stage in result.values["stages"]}
    assert series["init_loss"][0] > series["init_loss"][1], "the loss falls over training"
    final = load_model("builtin:tiny", device="cpu")
    assert series["fact_accuracy"][1] == fact_accuracy(final) == 1.0 and series["fact_accuracy"][0] < 0.5
    assert "development.svg" in result.report and (path / "figures/development.svg").exists()
    cases = {event.step: event.values["values"] for event in events if event.type == "metrics" and event.series == "case"}
    assert cases == {0: {"model.revision": "step-100"}, 1: {"model.revision": "final"}}
    done_shares = [event.done for event in events if event.type == "progress"]
    assert done_shares == sorted(done_shares) and done_shares[-1] == 2


def test_seeds_are_merged_with_the_larger_of_their_own_errors_and_their_spread():
    one = {"llc_mean": 10.0, "llc_std_error": 1.0, "rhat": 1.0, "chi": 2.0, "chi_std_error": 0.3, "init_loss": 3.0, "fact_accuracy": 0.5}
    two = {"llc_mean": 20.0, "llc_std_error": 1.0, "rhat": 1.3, "chi": 2.0, "chi_std_error": 0.4, "init_loss": 3.0}
    found = merged([{"headline": each, "reason": "", "state": "done", "digest": None} for each in (one, two)])["headline"]
    assert found["llc_mean"] == 15 and found["llc_std_error"] == pytest.approx(5), "seeds 10 apart, whatever each thinks of itself"
    assert found["chi"] == 2 and found["chi_std_error"] == pytest.approx(0.25), "two errors of one mean"
    assert found["rhat"] == 1.3 and found["fact_accuracy"] == 0.5 and "init_loss_std_error" not in found
    failed = {"headline": {}, "reason": "all chains failed", "state": "failed", "digest": None}
    assert merged([failed, failed])["state"] == "failed" and merged([failed, {**failed, "headline": two}])["headline"]["llc_mean"] == 20


def test_the_spread_of_two_seeds_alone_is_no_error():
    """Known from one degree of freedom it is far too small as often as not: a third of flat trainings had a stage."""
    runs = [{"headline": {"chi": value}, "freedom": {}, "reason": "", "state": "done"} for value in (2.0, 2.1, 2.3)]
    assert "chi_std_error" not in merged(runs[:2])["headline"]
    three = merged(runs)
    assert three["headline"]["chi_std_error"] == pytest.approx(0.1528 / 3**0.5, rel=1e-3) and three["freedom"] == {"chi": 2}


def test_degrees_of_freedom_follow_the_errors_that_seeds_state():
    run = {"headline": {"chi": 2.0, "chi_std_error": 0.3}, "freedom": {"chi": 4.0}, "reason": "", "state": "done"}
    assert merged([run, run])["freedom"]["chi"] == pytest.approx(8), "Welch and Satterthwaite, of two equal errors"
    flat = {"chi": [0.0, 1.0, 1.0], "chi_std_error": [0.2, 0.2, 0.2]}
    assert stages(flat)[0].to == 1, "3.5 errors where they are known well"
    assert not stages(flat, [{"chi": 1.5}] * 3), "and within what chance does where each is known from few degrees of freedom"


def test_a_stage_is_the_largest_of_the_changes_that_are_clear():
    series = {"chi": [0.0, 5.0, 4.0, 8.0], "chi_std_error": [4.0, 0.1, 0.1, 0.1]}
    assert [(stage.from_, stage.to) for stage in stages(series)] == [(2, 3)], "5.0 is larger, and within its errors"


def test_a_stage_is_named_only_where_it_is_clear_of_errors():
    series = {
        "llc_mean": [-3572.0, 10.0, 11.0, 40.0], "llc_std_error": [1.0, 1.0, 1.0, 1.0], "rhat": [1.0, 1.0, 1.0, 1.0],
        "chi a": [0.0, 1.0, 2.0, 9.0], "chi a_std_error": [1.0, 1.0, 1.0, None], "first order a": [0.0, 0.1, 0.5, 0.6],
        "fact_accuracy": [0.0, 0.0, 1.0, 1.0], "fact_accuracy_std_error": [0.01] * 4,
    }  # fmt: skip
    named = {stage.quantity: (stage.from_, stage.to) for stage in stages(series)}
    assert named == {"llc_mean": (2, 3), "first order a": (1, 2), "fact_accuracy": (1, 2)}
    series["rhat"] = [1.0, 1.0, 1.53, 1.0]
    assert "llc_mean" not in {stage.quantity for stage in stages(series)}, "the chains of one side do not agree"
    values = DevelopmentResult(revisions=("a", "b", "c", "d"), series=series, stages=stages(series))
    text = report(manifest.resolve({"kind": "development", **EXAMPLE}), values)
    assert (
        "λ̂ is negative at a" in text
        and "R̂ above 1.1 at c (1.53)" in text
        and "no two checkpoints that follow each other can be compared in: llc_mean" in text
    )
    assert "none is clear of its errors in: chi a" in text and "localization prevails" in text


@pytest.mark.timeout(120)
def test_two_seeds_are_two_samplings(done, tmp_path):
    result, _ = run(tmp_path / "run", revisions=["step-100", "final"], restrictions=[], facts=False, seeds=2)
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"000", "000-1", "001", "001-1"}
    first = done[2].values["series"]["llc_mean"]
    assert result.values["series"]["llc_mean"] != first and len(result.values["series"]["llc_mean"]) == 2
    assert "2 seeds of 2 chains" in result.report and set(result.digests) == {f"checkpoints/{n}" for n in ("000", "000-1", "001", "001-1")}


def test_stopped_and_resumed_it_measures_the_same(done, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path / "run", looks=4)
    again, _ = run(tmp_path / "run")
    assert again.digests == done[2].digests and again.values["series"] == done[2].values["series"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revisions": ["final", "final"]}, "holds a checkpoint twice"),
        ({"revisions": ["final"]}, "params.revisions"),
        ({"sampling_data": "prosa"}, "params.sampling_data"),
        ({"restrictions": ["l7h0"]}, "l7"),
        ({"observables": {}}, "params.observables"),
    ],
)
def test_what_is_wrong_is_said_before_the_run(change, said):
    with pytest.raises(ManifestError) as error:
        manifest.resolve({**TABLES, "params": {**TABLES["params"], **change}})
    assert said in str(error.value)


def test_its_example_is_a_manifest():
    found = manifest.resolve({"kind": "development", **EXAMPLE})
    assert catalog.get("development").estimate(found).seconds is not None
