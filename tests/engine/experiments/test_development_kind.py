"""Development over checkpoints: the numbers of each, and that a stopped run goes on to the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.experiments.development import EXAMPLE
from interp_tui_engine.experiments.development.compute import fact_accuracy
from interp_tui_engine.models.load import load_model
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Context, Interrupted

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


def run(path: Path, stop_after: int | None = None, **params):
    folder = RunFolder(path) if path.exists() else RunFolder.create(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    looks = 0

    def poll():
        nonlocal looks
        looks += 1
        return "stop" if stop_after is not None and looks > stop_after else "go"

    request = manifest.resolve({**TABLES, "params": {**TABLES["params"], **params}})
    events, found = catalog.get("development").run(Context(request, folder, 0, poll)), []
    while True:
        try:
            found.append(next(events))
        except StopIteration as end:
            return found, end.value


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("development") / "run"
    return path, *run(path)


def test_each_checkpoint_has_its_numbers(done):
    path, events, result = done
    series = result.values["series"]
    assert result.values["revisions"] == ["step-100", "final"]
    assert set(series) == {"llc_mean", "llc_std_error", "init_loss", "rhat", "chi l1h0 code", "fact_accuracy"}
    assert series["init_loss"][0] > series["init_loss"][1], "the loss falls over training"
    final = load_model("builtin:tiny", device="cpu")
    assert series["fact_accuracy"][1] == fact_accuracy(final) == 1.0 and series["fact_accuracy"][0] < 0.5
    assert "development.svg" in result.report and (path / "figures/development.svg").exists()
    cases = {event.step: event.values["values"] for event in events if event.type == "metrics" and event.series == "case"}
    assert cases == {0: {"model.revision": "step-100"}, 1: {"model.revision": "final"}}
    done_shares = [event.done for event in events if event.type == "progress"]
    assert done_shares == sorted(done_shares) and done_shares[-1] == 2


def test_stopped_and_resumed_it_measures_the_same(done, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path / "run", stop_after=4)
    _, again = run(tmp_path / "run")
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
