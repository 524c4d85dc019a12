"""Whole runs with the real worker on the embedded model: results, replay, stop and resume, failure, hostile text."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import tomli
import xarray as xr

from interp_tui_engine import catalog, manifest, supervisor
from interp_tui_engine.events import ChainFailed, Metrics, Stamped
from interp_tui_engine.runfolder import EventLog, EventTail, RunFolder
from interp_tui_engine.runtime.context import Context

REQUEST: dict[str, Any] = {
    "kind": "llc",
    "name": "whole",
    "seed": 3,
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:facts", "context": 16, "rows": 16}},
    "params": {
        "lr": 1e-5,
        "n_beta": 10.0,
        "localization": 100.0,
        "num_chains": 2,
        "num_draws": 120,
        "num_burnin_steps": 2,
        "batch_size": 4,
        "num_init_loss_batches": 2,
        "observables": {"train": 1},
    },
}


def request(**params: Any) -> manifest.Manifest:
    return manifest.resolve(REQUEST | {"params": REQUEST["params"] | params})


def events_of(folder: RunFolder) -> list[Stamped]:
    return list(EventTail(folder.events_path).read(seconds=5))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = supervisor.prepare(request(), tmp_path_factory.mktemp("runs") / "done")
    assert supervisor.supervise(folder).state == "done"
    return folder


def test_a_finished_run_holds_all_it_promises(done: RunFolder) -> None:
    result = done.result()
    assert result is not None
    for key in (
        "kind",
        "name",
        "schema_version",
        "seconds",
        "llc_mean",
        "llc_std",
        "llc_per_chain",
        "init_loss",
        "loss_mean",
        "rhat",
        "ess",
    ):
        assert key in result
    assert result["healthy_chains"] == [0, 1] and result["tokens_per_second"] > 0
    with xr.open_datatree(done.path / "samples.zarr", engine="zarr", consolidated=False) as tree:
        losses = tree["sampling_loss_micro"].values[:, 2:]
        by_hand = 10.0 * (losses.mean(axis=(2, 3), dtype="float64") - tree["init_loss_micro"].values[2:]).mean(1)
    assert result["llc_per_chain"] == pytest.approx(by_hand.tolist(), rel=1e-4) and result["baseline"] == "paired"
    assert (done.path / "figures" / "loss.svg").is_file() and "λ̂ =" in done.report_path.read_text()
    tables = tomli.loads(done.manifest_path.read_text())
    assert tables["compute"]["chains"] in ("threads", "serial"), "the choice is recorded, not 'auto'"
    for key in ("weights_sha256", "tokenizer_sha256", "datasets", "versions", "platform", "finished", "device"):
        assert tables["provenance"][key]


def test_run_again_paused_and_stopped_and_resumed_it_has_the_same_numbers(done: RunFolder, tmp_path: Path) -> None:
    """From the manifest that the first run left, through every order a run can be given that lets it live."""
    folder = supervisor.prepare(manifest.load(done.manifest_path), tmp_path / "again")
    asked, statuses = threading.Event(), []

    def pause(stamped: Stamped) -> None:
        if isinstance(stamped.event, Metrics) and stamped.event.series == "chains" and stamped.event.step > 0 and not asked.is_set():
            asked.set()
            folder.send("pause")

    run = threading.Thread(target=lambda: statuses.append(supervisor.supervise(folder, pause)))
    run.start()
    try:
        assert asked.wait(120)
        deadline = time.monotonic() + 60
        while folder.status().state != "paused" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert folder.status().state == "paused"
        held = -1.0  # steps under way when the pause came are finished first
        while folder.status().done != held and time.monotonic() < deadline:
            held = folder.status().done
            time.sleep(1.5)
        assert folder.status().done == held < folder.status().total
        assert folder.status().state == "paused"
        folder.send("resume")
        while folder.status().done == held and run.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert folder.status().done > held
    finally:
        folder.send("stop")
        run.join(120)
    assert statuses[0].state == "interrupted", "stopped before its end"
    assert supervisor.supervise(folder).state == "done"
    first, second = (tomli.loads(f.manifest_path.read_text())["result"]["sha256"] for f in (done, folder))
    assert first == second and "sampling_loss_micro" in first


def test_all_chains_failing_fails_the_run_with_advice(tmp_path: Path) -> None:
    folder = supervisor.prepare(request(lr=1e6, localization=0.0, n_beta=1e6), tmp_path / "hot")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "all 2 chains failed" in status.exit["reason"] and "lower lr" in status.exit["advice"]
    failed = [s.event for s in events_of(folder) if isinstance(s.event, ChainFailed)]
    assert sorted(event.chain for event in failed) == [0, 1] and all(event.step >= 0 and event.cause for event in failed)


def test_a_missing_model_is_said_plainly(tmp_path: Path) -> None:
    bad = manifest.resolve(REQUEST | {"model": {"source": "builtin:tiny", "revision": "finale"}})
    folder = supervisor.prepare(bad, tmp_path / "bad")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "finale" in status.exit["reason"] and "final" in status.exit["advice"]
    assert "Traceback" not in (folder.shard(0) / "engine.log").read_text()


def test_rows_with_control_characters_are_data_like_any_other(tmp_path: Path) -> None:
    text = "\x1b]52;c;aGk=\x07 [/b] \u202egnirts\u202c \x1b[31mred " * 40
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for _ in range(8)))
    hostile = REQUEST | {"data": {"train": {"source": str(tmp_path / "rows.jsonl"), "context": 16, "rows": 16}}}
    hostile["params"] = REQUEST["params"] | {"num_draws": 4}
    folder = RunFolder.create(tmp_path / "hostile")
    folder.shard(0).mkdir()
    log = EventLog(folder.events_path)
    for event in catalog.get("llc").run(Context(manifest.resolve(hostile), folder, 0, lambda: "go")):
        log.append(event)
    log.close()
    assert b"\x1b" not in folder.events_path.read_bytes(), "JSON escapes control characters"
    assert events_of(folder)
