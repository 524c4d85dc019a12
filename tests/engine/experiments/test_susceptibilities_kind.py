"""The kind `susceptibilities`: its run folder, stopped and resumed, killed and resumed, and what it says of bad requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli
import xarray as xr

from in_process import run_tables
from interp_tui_engine import catalog, manifest, supervisor
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.estimators.susceptibilities import compute_susceptibilities
from interp_tui_engine.events import Metrics, Warned
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted, Order
from interp_tui_engine.samplers.chains.store import open_samples

pytestmark = pytest.mark.usefixtures("read_once")

TABLES: dict[str, Any] = {
    "kind": "susceptibilities",
    "name": "small",
    "seed": 3,
    "model": {"source": "builtin:tiny"},
    "data": {
        "prose": {"source": "builtin:prose", "context": 8, "rows": 8},
        "2code": {"source": "builtin:code", "context": 8, "rows": 4},
    },
    "params": {
        "restrictions": ["l0h1", ["l3 mlp", "l2h0"]],
        "lr": 1e-4,
        "n_beta": 20.0,
        "localization": 100.0,
        "num_chains": 2,
        "num_draws": 3,
        "batch_size": 4,
        "num_init_loss_batches": 2,
        "sampling_data": "prose",
        "observables": {"prose": 1, "2code": 1},
    },
    "compute": {"threads": 1, "chains": "serial"},
}
UNION = "l3 mlp + l2h0"


@pytest.fixture(scope="module")
def whole(read_once: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, catalog.Result, list[Any]]:
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, *run_tables(TABLES, path)


def test_the_tree_is_that_of_the_stores_and_the_numbers_those_of_the_tree(whole: Any) -> None:
    path, result, events = whole
    values = result.values
    assert values["restrictions"] == ["l0h1", UNION] and values["observables"] == ["2code"]
    tree = xr.open_datatree(path / "susceptibilities.zarr", engine="zarr", consolidated=False)
    stores = {"full": "full", "l0h1": "l0h1", UNION: next(p.stem for p in (path / "samples").iterdir() if p.stem not in ("full", "l0h1"))}
    again = compute_susceptibilities({name: open_samples(path / "samples" / f"{stem}.zarr") for name, stem in stores.items()}, "prose")
    sus = tree["susceptibilities"]["sus"]
    np.testing.assert_array_equal(sus.values, again["susceptibilities"]["sus"].values)
    assert sus.shape == (4 * 8, 2) and tree["context"]["input_ids"].shape == (4 * 9,)
    for index, part in enumerate(values["restrictions"]):
        assert values["mean"][part]["2code"] == pytest.approx(float(sus.values[:, index].mean(dtype=np.float64)), rel=1e-5)
        assert values["std_error"][part]["2code"] is None and "effective draws" in values["no_error"][part]["2code"]
        covariance = tree["susceptibilities"]["covariance"].values[:, index]
        assert values["covariance"][part]["2code"] == pytest.approx(float(covariance.mean(dtype=np.float64)), rel=1e-4)
        assert values["mean"][part]["2code"] == pytest.approx(values["covariance"][part]["2code"] + values["shift"][part]["2code"])
        first_order = tree["susceptibilities"]["first_order"].values[:, index]
        assert values["first_order"][part]["2code"] == pytest.approx(float(first_order.mean(dtype=np.float64)), rel=1e-4)
        top = values["top_tokens"][part]
        assert abs(top[0]["value"]) == pytest.approx(float(np.abs(covariance).max()), rel=1e-6)
        assert top[0]["token"] in json.loads((path / "tokens.json").read_text()).values()
    assert values["parameters"]["l0h1"] == 4 * 32 * 128, "its rows of q, its columns of o, and the rows of k and v that it shares"
    filled = [event.values for event in events if isinstance(event, Metrics) and event.series == "case"]
    assert [row["restriction"] for row in filled] == ["l0h1", UNION] and filled[0]["mean"] == values["mean"]["l0h1"]
    assert "<svg" in (path / "figures" / "susceptibilities.svg").read_text() and "| l0h1 |" in result.report
    json.dumps(values, allow_nan=False)


def test_what_is_known_of_the_responses_besides_them(whole: Any) -> None:
    _, result, _ = whole
    values = result.values
    for part in values["restrictions"]:
        row = values["agreement"][part]
        assert row["seeds"] is not None and abs(row["with_first_order"]) <= 1 and row["departure"] is None, "there are no error bars"
        assert 0 < abs(row["curvature"]) < 1 and row["clear_tokens"] >= 0
        control = values["control"]["first_order"][part]["2code"]
        assert control["low"] <= control["mean"] <= control["high"]
        assert values["clear"]["covariance"][part]["2code"] is None and values["clear"]["first_order"][part]["2code"] in (True, False)
        noted = result.uncertainty[f"covariance.{part}.2code"]
        assert noted.std_error is None and "effective draws" in noted.note and noted.control is not None
    assert values["paired"] and values["scatter"] == pytest.approx(1 / (100 * (1 - 1e-4 * 100 / 4)))
    assert "Two samplings of this size agree at r =" in result.report and "first order s (‖∇L‖² − ⟨∇L, ∇l⟩)" in result.report


def test_ranked_by_first_order_tokens_are_those_of_the_gradients(tmp_path: Path) -> None:
    params = TABLES["params"] | {"rank_by": "first_order", "restrictions": ["l0h1"]}
    result, _ = run_tables(TABLES | {"params": params}, tmp_path / "run")
    tree = xr.open_datatree(tmp_path / "run" / "susceptibilities.zarr", engine="zarr", consolidated=False)["susceptibilities"]
    exact = tree["first_order"].values[:, 0]
    top = result.values["top_tokens"]["l0h1"]
    assert [abs(token["value"]) for token in top] == pytest.approx(sorted(np.abs(exact), reverse=True)[:8], rel=1e-5)
    assert result.headline["first_order_mean"] == pytest.approx(float(exact.mean()), rel=1e-4)


def test_without_localization_there_is_no_first_order(tmp_path: Path) -> None:
    params = TABLES["params"] | {"rank_by": "first_order", "restrictions": ["l0h1"], "localization": 0.0}
    result, events = run_tables(TABLES | {"params": params}, tmp_path / "run")
    assert result.values["first_order"] == {"l0h1": {"2code": None}} and result.values["ranked_by"] == "covariance"
    assert any(isinstance(event, Warned) and "no first order to rank by" in event.message for event in events)
    json.dumps(result.values, allow_nan=False)


def test_stopped_at_any_part_and_resumed_is_the_same_and_what_is_done_is_not_done_again(whole: Any, tmp_path: Path) -> None:
    _, result, _ = whole
    stores: dict[str, float] = {}
    for part in range(3):
        begun = 0

        def poll(part: int = part) -> Order:
            nonlocal begun
            begun = len(list((tmp_path / "run" / "samples").glob("*.zarr")))
            return "stop" if begun > part else "go"

        with pytest.raises(Interrupted):
            run_tables(TABLES, tmp_path / "run", poll=poll)
        done = list((tmp_path / "run" / "shards" / "0" / "checkpoint").glob("*.json"))
        assert len(done) in (part, part + 1), "the part under way, unless it ended before anyone looked"
        stores |= {path.name: path.stat().st_mtime for path in done}
    found, _ = run_tables(TABLES, tmp_path / "run")
    for name, when in stores.items():
        assert (tmp_path / "run" / "shards" / "0" / "checkpoint" / name).stat().st_mtime == when
    assert found.digests == result.digests and len(found.digests) > 10
    same = {key: value for key, value in found.values.items() if key != "seconds"}
    assert same == {key: value for key, value in result.values.items() if key != "seconds"}


@pytest.mark.timeout(300)
def test_killed_and_resumed_gives_equal_digests(tmp_path: Path) -> None:
    """The worker and its supervisor are killed once a part is done and another under way."""
    tables = TABLES | {"params": TABLES["params"] | {"restrictions": ["l0h1"], "num_draws": 12}}
    request = manifest.resolve(tables)

    def digests(folder: RunFolder) -> dict[str, str]:
        found: dict[str, str] = tomli.loads(folder.manifest_path.read_text())["result"]["sha256"]
        return found

    killed = supervisor.prepare(request, tmp_path / "killed")
    command = [sys.executable, "-P", "-m", "interp_tui_engine.supervisor", str(killed.path)]
    process = subprocess.Popen(command, env=supervisor.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((killed.path / "samples").glob("*.zarr"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = killed.status().worker_pid
    for pid in (process.pid, worker):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert (killed.shard(0) / "checkpoint" / "full.json").exists() and not (killed.shard(0) / "exit.json").exists()
    assert supervisor.supervise(killed).state == "done"
    _, result = killed, run_tables(tables, tmp_path / "whole")[0]
    assert digests(killed) == result.digests


@pytest.mark.parametrize(
    ("params", "path", "message"),
    [
        ({"restrictions": []}, "params.restrictions", "at least 1"),
        ({"restrictions": ["full"]}, "params.restrictions.0", "sampled in any case"),
        ({"restrictions": ["l0h1", "l0h1"]}, "params.restrictions.1", "is there already"),
        ({"restrictions": ["l0h1", "L0 H1"]}, "params.restrictions.1", "is there already"),
        ({"restrictions": [["l0h1", "embed"], ["embed", "L0H1"]]}, "params.restrictions.1", "is there already"),
        ({"observables": {"2code": 1}}, "params.observables", "must observe the sampling data too: add prose = 1"),
        ({"observables": {"prose": 1}}, "params.observables", "holds nothing besides 'prose'"),
        ({"observables": {"prose": 9, "2code": 1}}, "data.prose.rows", "needs 36"),
        ({"restriction": "l0"}, "params.restriction", "restrictions"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(params: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ManifestError) as error:
        manifest.resolve(TABLES | {"params": TABLES["params"] | params})
    assert any(problem.path == path and message in str(problem) for problem in error.value.problems), str(error.value)


def test_a_part_that_the_model_has_not_is_refused_before_sampling(tmp_path: Path) -> None:
    from interp_tui_engine.errors import UserError

    with pytest.raises(UserError, match="l9h0"):
        run_tables(TABLES | {"params": TABLES["params"] | {"restrictions": ["l0h1", "l9h0"]}}, tmp_path / "run")
    assert not (tmp_path / "run" / "samples").exists()


def test_a_part_all_of_whose_chains_fail_is_null_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp_tui_engine.errors import RunFailed
    from interp_tui_engine.experiments._sampling import per_restriction as parts

    lost, sample = {"l0h1"}, parts._Work.sample

    def failing(self: Any, emit: Any) -> Any:
        done = sample(self, emit)
        return replace(done, failed={"0": "step 1: the loss is not finite", "1": "step 2: …"}) if self.name in lost else done

    monkeypatch.setattr(parts._Work, "sample", failing)
    result, events = run_tables(TABLES, tmp_path / "run")
    assert result.values["mean"]["l0h1"] == {"2code": None} and result.values["mean"][UNION]["2code"] is not None
    assert set(result.values["top_tokens"]) == {UNION} and "l0h1" in result.values["failed_chains"]
    assert any(isinstance(event, Warned) and "l0h1: all chains failed" in event.message for event in events)
    tree = xr.open_datatree(tmp_path / "run" / "susceptibilities.zarr", engine="zarr", consolidated=False)
    assert tree["susceptibilities"]["wr"].values.tolist() == [UNION]
    lost |= {"full"}
    with pytest.raises(RunFailed, match="of the whole model failed: step 1"):
        run_tables(TABLES, tmp_path / "other")


def test_heads_means_all_heads() -> None:
    from interp_tui_engine.experiments._sampling.per_restriction import slug, spelt_out
    from interp_tui_engine.models.load import load_model

    model = load_model("builtin:tiny")
    heads = spelt_out(["heads", "l0 mlp"], model)
    assert len(heads) == 33 and list(heads)[:2] == ["l0h0", "l0h1"] and list(spelt_out(["layers"], model)) == ["l0", "l1", "l2", "l3"]
    names = [*heads, "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn_q.proj.weight", "l0_mlp"]
    assert len({slug(name) for name in names}) == len(names), "each has a file of its own"
