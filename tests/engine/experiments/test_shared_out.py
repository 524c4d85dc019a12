"""Runs that several workers share: the numbers of one worker, bit for bit, also when one of them is killed on the way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tomli
import zarr

from in_process import run_shared_out, run_tables
from interp_tui_engine import manifest, supervisor
from interp_tui_engine.errors import RunFailed
from interp_tui_engine.events import Metrics, Phase, Stamped, Warned
from interp_tui_engine.numbers import finite
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted, Order

pytestmark = pytest.mark.usefixtures("read_once")

LLC: dict[str, Any] = {
    "kind": "llc",
    "name": "shared",
    "seed": 5,
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:facts", "context": 8, "rows": 16}},
    "params": {
        "lr": 1e-5,
        "n_beta": 10.0,
        "localization": 100.0,
        "num_chains": 3,
        "num_draws": 3,
        "num_burnin_steps": 1,
        "batch_size": 2,
        "num_init_loss_batches": 2,
        "sampling_method": "rmsprop_sgld",
        "save_metrics": True,
        "observables": {"train": 1},
    },
}

PARTS: dict[str, Any] = {
    **LLC,
    "kind": "susceptibilities",
    "data": {
        "prose": {"source": "builtin:prose", "context": 8, "rows": 8},
        "code": {"source": "builtin:code", "context": 8, "rows": 4},
    },
    "params": {
        "restrictions": ["l0h1", ["l3 mlp", "l2h0"], "embed"],
        "lr": 1e-4,
        "n_beta": 20.0,
        "localization": 100.0,
        "num_chains": 2,
        "num_draws": 4,
        "batch_size": 4,
        "num_init_loss_batches": 2,
        "sampling_data": "prose",
        "observables": {"prose": 1, "code": 1},
    },
}

BIF: dict[str, Any] = {
    **PARTS,
    "kind": "bif",
    "params": {key: value for key, value in PARTS["params"].items() if key != "restrictions"} | {"method": "token", "num_chains": 2},
}
TIMES = ("seconds", "tokens_per_second", "executor")


def same(one: Any, two: Any) -> None:
    assert one.digests == two.digests and one.digests
    first, second = ({k: finite(v) for k, v in result.values.items() if k not in TIMES} for result in (one, two))
    assert first == second


@pytest.mark.parametrize("compute", [{"chains": "serial", "threads": 1}, {"threads": 2}, {"chains": "vmap", "threads": 1}])
def test_chains_of_two_workers_are_those_of_one(compute: dict[str, Any], tmp_path: Path) -> None:
    """Also where two workers each have a part of one stack, and where a worker has fewer threads than the only one has."""
    tables = LLC | {"compute": compute}
    alone, _ = run_tables(tables, tmp_path / "alone")
    together, events = run_shared_out(tables, tmp_path / "together", 2)
    same(alone, together)
    assert together.values["tokens_per_second"] > 0, "the workers' speeds together: who joins them trains on nothing"
    chains = [{c for e in said if isinstance(e, Metrics) and e.series == "chains" for c in e.values["chains"]} for said in events]
    assert chains == [{0}, {1, 2}, {0, 1, 2}]
    phases = [e.name for e in events[-1] if isinstance(e, Phase)]
    assert "joining" in phases and "sampling" not in phases


def test_a_run_that_one_worker_began_can_be_shared_when_it_goes_on(tmp_path: Path) -> None:
    tables = LLC | {"compute": {"chains": "serial", "threads": 1}}
    alone, _ = run_tables(tables, tmp_path / "alone")
    looks = 0

    def stop() -> Order:
        nonlocal looks
        looks += 1
        return "stop" if looks > 2 else "go"

    with pytest.raises(Interrupted):
        run_tables(tables, tmp_path / "run", poll=stop)
    assert list((tmp_path / "run" / "shards" / "0" / "checkpoint").glob("chain-*.pt")), "it had begun"
    (tmp_path / "run" / "shards" / "0" / "exit.json").write_text('{"state": "done"}')
    together, events = run_shared_out(tables, tmp_path / "run", 2)
    same(alone, together)
    begun = [next(e for e in said if isinstance(e, Metrics) and e.series == "chains").values["step"] for said in events]
    assert begun[-1] == [4, 4, 4], "who joins them finds every chain at its end"


def test_a_chain_that_fails_costs_only_itself_wherever_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp_tui_engine.samplers.chains import chain as chains

    step = chains.Chain.step

    def failing(self: Any) -> None:
        if self.records[0].chain == 0 and self.records[0].now.step == 2:
            raise chains.NonFinite("the loss is not finite")
        step(self)

    monkeypatch.setattr(chains.Chain, "step", failing)
    tables = LLC | {"compute": {"chains": "serial", "threads": 1}}
    alone, _ = run_tables(tables, tmp_path / "alone")
    together, _ = run_shared_out(tables, tmp_path / "together", 2)
    same(alone, together)
    assert together.values["healthy_chains"] == [1, 2] and together.values["failed_chains"]["0"]["step"] == 2


def test_parts_of_two_workers_are_those_of_one_and_show_as_they_come(tmp_path: Path) -> None:
    tables = PARTS | {"compute": {"chains": "serial", "threads": 1}}
    alone, before = run_tables(tables, tmp_path / "alone")
    together, events = run_shared_out(tables, tmp_path / "together", 3)
    same(alone, together)
    parts = [[e.values["restriction"] for e in said if isinstance(e, Metrics) and e.series == "part"] for said in events]
    assert parts == [["full", "embed"], ["l0h1"], ["l3 mlp + l2h0"], ["full", "l0h1", "l3 mlp + l2h0", "embed"]]
    cases = [[e.values["restriction"] for e in said if isinstance(e, Metrics) and e.series == "case"] for said in events]
    assert cases == [["embed"], [], [], ["l0h1", "l3 mlp + l2h0", "embed"]], "what ended before the whole model did is told of at the join"
    warned = [e.message for e in before if isinstance(e, Warned)]
    assert warned and [e.message for said in events for e in said if isinstance(e, Warned)] == warned, "what concerns all is said once"


def test_no_part_is_sampled_once_the_whole_model_has_failed(tmp_path: Path) -> None:
    tables = PARTS | {"compute": {"chains": "serial", "threads": 1}}
    folder = RunFolder.create(tmp_path / "run")
    (folder.shard(0) / "checkpoint").mkdir(parents=True)
    failed = {
        "name": "full",
        "parameters": 1,
        "chains": 2,
        "failed": {"0": "step 1: hot", "1": "step 2: hot"},
        "rhat": None,
        "seconds": 1.0,
    }
    (folder.shard(0) / "checkpoint" / "full.json").write_text(json.dumps(failed))
    with pytest.raises(RunFailed, match="all 2 chains of the whole model failed: step 1: hot"):
        run_shared_out(tables, folder.path, 2)
    assert not (folder.path / "samples").exists()


def test_influence_from_two_workers_is_that_of_one(tmp_path: Path) -> None:
    tables = BIF | {"compute": {"chains": "serial", "threads": 1}}
    same(run_tables(tables, tmp_path / "alone")[0], run_shared_out(tables, tmp_path / "together", 2)[0])


def test_one_of_two_workers_killed_costs_its_share_and_no_number(tmp_path: Path) -> None:
    """Two real workers, one killed once it samples: the other ends its share, resume does the rest, the numbers are those of one worker."""
    tables = LLC | {
        "params": LLC["params"] | {"num_draws": 40, "num_chains": 2},
        "compute": {"chains": "serial", "threads": 1, "checkpoint_every": "0.2s"},
    }
    request = manifest.resolve(tables | {"compute": tables["compute"] | {"devices": ["cpu", "cpu"]}})
    folder = supervisor.prepare(request, tmp_path / "run")
    killed: list[int] = []

    def kill(stamped: Stamped) -> None:
        pids = [row["pid"] for row in folder.status().shards]
        if stamped.shard == 1 and isinstance(stamped.event, Metrics) and not killed and len(pids) == 2 and pids[1]:
            killed.append(pids[1])
            os.kill(pids[1], signal.SIGKILL)

    status = supervisor.supervise(folder, kill)
    assert status.state == "crashed" and "shard 1 (chain 1 on cpu): the worker was ended by SIGKILL" in status.exit["reason"]
    assert [row["state"] for row in status.shards] == ["done", "crashed"]
    log = (folder.shard(0) / "events.jsonl").stat().st_mtime_ns
    assert zarr.open_group(folder.path / "samples.zarr", mode="r").attrs["completed"] == 0
    assert supervisor.supervise(RunFolder(folder.path)).state == "done"
    assert (folder.shard(0) / "events.jsonl").stat().st_mtime_ns == log, "what was done was not done again"
    recorded = tomli.loads(folder.manifest_path.read_text())
    alone = tables | {"model": {"source": "builtin:tiny", "device": "cpu"}}
    assert recorded["result"]["sha256"] == run_tables(alone, tmp_path / "alone")[0].digests
    assert recorded["compute"]["devices"] == ["cpu", "cpu"] and recorded["provenance"]["executor"]["mode"] == "serial"
