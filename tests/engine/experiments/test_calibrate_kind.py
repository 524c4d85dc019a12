"""A calibration as a run: what it leaves, and that a stopped one goes on to the same numbers."""

from __future__ import annotations

import json

import pytest

from in_process import run_tables, stop_after
from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.experiments.calibrate import EXAMPLE
from interp_tui_engine.experiments.calibrate.params import cells
from interp_tui_engine.runtime.context import Interrupted

TABLES = {
    "kind": "calibrate",
    "name": "small",
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:prose", "context": 16, "rows": 32}},
    "params": {
        "lr": [1e-4, 10.0], "n_beta": [300.0], "localization": [1000.0], "num_chains": 2, "num_draws": 8, "num_burnin_steps": 2,
        "batch_size": 2, "num_init_loss_batches": 2, "acceptance_every": 5,
    },
    "compute": {"chains": "serial", "threads": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrate") / "run"
    result, events = run_tables(TABLES, path)
    return path, events, result


def test_it_ends_in_a_verdict_and_a_manifest_that_runs(done):
    path, events, result = done
    assert [cell["setting"]["n_beta"] for cell in result.values["cells"]] == [300.0, 0.0, 300.0, 0.0]
    assert result.values["cells"][1]["control"] and result.values["cells"][1]["usable"] is None
    hot = result.values["cells"][2]
    assert hot["failed"] == 2 and not hot["usable"] and "lr is too large" in hot["against"][0], "a step size of 10 must not survive"
    assert result.values["cells"][0]["acceptance"] is not None
    assert result.values["setting"]["lr"] == 1e-4
    ready = manifest.load(path / "calibrated.toml")
    assert ready.kind == "llc" and ready.params.lr == 1e-4 and ready.params.num_draws == 32 and ready.params.num_chains == 4
    assert (path / "calibrated.toml").read_text().startswith(f"# {result.values['verdict']}")
    assert result.values["verdict"].lower() in result.report.lower()
    told = [event for event in events if event.type == "metrics" and event.series == "case"]
    assert [event.step for event in told] == [0, 0, 1, 2, 2, 3], "a control tells again of the settings it speaks of, and of no others"
    json.dumps(result.values, allow_nan=False)


def test_stopped_and_resumed_it_concludes_the_same(done, tmp_path):
    _, _, result = done
    with pytest.raises(Interrupted):
        run_tables(TABLES, tmp_path / "run", poll=stop_after(3))
    again, _ = run_tables(TABLES, tmp_path / "run")
    assert again.digests == result.digests and again.values["cells"] == result.values["cells"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": [1e-4, 1e-4]}, "params.lr: holds a value twice"),
        ({"lr": []}, "params.lr"),
        ({"n_beta": [0.0]}, "params.n_beta"),
        ({"sampling_data": "trian"}, "params.sampling_data"),
        ({"batch_size": 64}, "fewer than batch_size"),
        ({"restriction": "l9h0"}, "l9"),
    ],
)
def test_what_is_wrong_is_said_before_the_run(change, said):
    with pytest.raises(ManifestError) as error:
        manifest.resolve({**TABLES, "params": {**TABLES["params"], **change}})
    assert said in str(error.value)


def test_its_example_is_a_manifest():
    found = manifest.resolve({"kind": "calibrate", **EXAMPLE})
    assert len(cells(found.params)) == 6 and catalog.get("calibrate").estimate(found).seconds is not None
