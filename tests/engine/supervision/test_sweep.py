"""Sweeps: what a manifest's axes mean, and that their runs are made, told of, stopped, failed and resumed each by itself."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import tomli
from scripted_workers import Script, supervised_apart, told

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.events import Metrics
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.sweep import axes_of, points_of, with_values

REQUEST = """
kind = "llc"
name = "grid"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
[params]
lr = 1e-3
n_beta = 30.0
[sweep]
"params.lr" = [1e-5, 1e-4]
"model.revision" = ["step-0", "step-100", "final"]
"""

PRELUDE = """
lr, revision = asked["params"]["lr"], asked["model"]["revision"]
def done():
    log.append(RunStarted("llc", asked["name"]))
    atomic.write_json(folder / "result.json", {"kind": "llc", "llc_mean": lr * 1e5, "ess": None, "llc_per_chain": [1.0, 2.0]})
    end("done", headline={"llc_mean": lr * 1e5}, digests={"loss": f"{lr}-{revision}"})
"""


# -- the manifest


def test_points_are_the_product_the_last_axis_fastest():
    axes, problems = axes_of({"params.lr": [1, 2], 'data."my set".rows': [3, 4]})
    assert problems == []
    assert [list(point.values.values()) for point in points_of(axes)] == [[1, 3], [1, 4], [2, 3], [2, 4]]
    tables = {"params": {"lr": 9, "k": 1}, "data": {"my set": {"source": "x"}}, "sweep": {}}
    assert with_values(tables, axes, list(points_of(axes))[2]) == {
        "params": {"lr": 2, "k": 1},
        "data": {"my set": {"source": "x", "rows": 3}},
    }
    assert tables["params"]["lr"] == 9, "the tables given must not change"


def test_a_resolved_sweep_reads_back_as_itself(tmp_path):
    found = manifest.parse(REQUEST)
    assert manifest.parse(found.to_toml()) == found
    points = manifest.points_of(found)
    assert [(one.params.lr, one.model.revision) for _, one in points[:2]] == [(1e-5, "step-0"), (1e-5, "step-100")]
    assert len({one.digest() for _, one in points}) == 6 and not points[0][1].sweep
    assert len({one.name for _, one in points}) == 6
    assert found.digest() != points[0][1].digest()


def test_swept_paths_start_from_the_manifests_folder(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text")
    text = REQUEST.replace('"params.lr" = [1e-5, 1e-4]', '"data.train.source" = ["a.txt", "b.txt"]')
    (tmp_path / "m.toml").write_text(text)
    found = manifest.load(tmp_path / "m.toml")
    assert found.sweep["data.train.source"] == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]


def test_devices_are_dealt_out_in_turn():
    found = manifest.parse(REQUEST + '[compute]\ndevices = ["cpu", "cuda:1"]\n')
    assert [one.model.device for _, one in manifest.points_of(found)] == ["cpu", "cuda:1"] * 3
    assert all(one.compute.devices == "auto" for _, one in manifest.points_of(found))
    assert manifest.parse(found.to_toml()) == found


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ('"params.lrr" = [1.0]', ["line 12: params.lrr", "Did you mean 'lr'"]),
        ('"kind" = ["sample"]', ["line 12", "an axis is a key of seed, model"]),
        ('"modle.revision" = ["final"]', ["line 12", "Did you mean 'model'"]),
        ('"params.lr" = []', ["line 12", "must be a list of values"]),
        ('"params.lr" = 1e-4', ["line 12", "list"]),
        ('"params.lr" = [1e-4, 1e-4]', ["line 12", "holds a value twice"]),
        ('"params.lr" = [1e-4, -1.0, "x"]', ["2 problems", "line 12: params.lr: -1.0", "line 12: params.lr: 'x'"]),
        ('"seed" = [' + ",".join(map(str, range(400))) + "]", ["1,200 runs, more than 1,000"]),
        ('"data.train.source" = ["builtin:prose", "nowhere/at-all.txt"]', ["line 12", "no such file or folder"]),
    ],
)
def test_what_is_wrong_with_an_axis_is_said_once_and_placed(axis, said):
    with pytest.raises(ManifestError) as error:
        manifest.parse(REQUEST.replace('"params.lr" = [1e-5, 1e-4]', axis))
    for part in said:
        assert part in str(error.value)


def test_an_empty_sweep_is_refused():
    with pytest.raises(ManifestError, match="is empty; give it an axis"):
        manifest.parse(REQUEST.split('"params.lr"')[0])


# -- the run


def test_every_point_is_a_run_of_its_own_and_the_sweep_gathers_them(scripted: Script):
    folder = scripted("done()")
    assert folder.status().kind == "sweep", "also while it waits"
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"points": 6, "done": 6} and (status.done, status.total) == (6, 6)
    points = [RunFolder(folder.path / f"points/{k:03d}") for k in range(6)]
    assert [point.status().state for point in points] == ["done"] * 6
    result = json.loads(folder.result_path.read_text())
    assert result["kind"] == "sweep" and result["of"] == "llc" and list(result["axes"]) == ["params.lr", "model.revision"]
    row = result["points"][4]
    assert row["values"] == {"params.lr": 1e-4, "model.revision": "step-100"} and row["folder"] == "points/004"
    assert row["result"] == {"llc_mean": pytest.approx(10.0), "ess": None}, "single numbers only, and null where there is none"
    digests = tomli.loads(folder.manifest_path.read_text())["result"]["sha256"]
    assert digests["points/004/loss"] == "0.0001-step-100" and len(digests) == 6
    cases = [stamped.event for stamped in told(folder) if isinstance(stamped.event, Metrics) and stamped.event.series == "case"]
    assert sorted(case.step for case in cases) == list(range(6))
    assert "| 0.0001 | step-100 | done | 10.00 |" in folder.report_path.read_text()
    assert (folder.path / "figures" / "llc_mean.svg").read_text().startswith("<svg")


def test_a_point_that_fails_costs_only_itself(scripted: Script):
    folder = scripted("end('failed', reason='every chain failed') if lr > 5e-5 and revision == 'final' else done()")
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"points": 6, "done": 5}
    assert "every chain failed" in "".join(stamped.event.message for stamped in told(folder) if stamped.event.type == "warning")
    assert [row["state"] for row in json.loads(folder.result_path.read_text())["points"]] == ["done"] * 5 + ["failed"]


def test_a_point_that_crashes_is_run_again_by_resume_and_the_others_are_not(scripted: Script, tmp_path: Path):
    folder = scripted("os.kill(os.getpid(), signal.SIGKILL) if revision == 'step-100' else done()")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and status.exit["reason"] == "2 of 6 points crashed" and supervisor.exit_code(status) == 1
    before = {k: (folder.path / f"points/{k:03d}/events.jsonl").stat().st_mtime_ns for k in (0, 2, 3, 5)}
    folder = scripted("done()")
    assert supervisor.supervise(folder).state == "done"
    assert before == {k: (folder.path / f"points/{k:03d}/events.jsonl").stat().st_mtime_ns for k in (0, 2, 3, 5)}


def test_points_that_have_ended_are_not_read_again(scripted: Script, monkeypatch: pytest.MonkeyPatch):
    looks: list[str] = []
    status = RunFolder.status
    monkeypatch.setattr(RunFolder, "status", lambda self: (looks.append(self.path.name), status(self))[1])
    folder = scripted("time.sleep(1.0 if (lr, revision) == (1e-4, 'final') else 0); done()")
    assert supervisor.supervise(folder).state == "done"
    last = looks.index("005")
    assert looks.count("005") > 5, "the last point was waited for"
    assert all(name == "005" for name in looks[last + 1 :]), "and only it was looked at meanwhile"
    looks.clear()
    assert supervisor.supervise(folder).state == "done"
    assert looks == [f"{k:03d}" for k in range(6)]


def test_all_points_failing_fails_the_sweep(scripted: Script):
    folder = scripted("end('failed', reason='no such device')")
    status = supervisor.supervise(folder)
    assert status.state == "failed" and "every point failed; the first: no such device" in status.exit["reason"]


def test_stop_reaches_the_points_and_resume_goes_on(scripted: Script):
    folder = scripted("log.append(RunStarted('llc', 'p')); wait_for_stop()", REQUEST + '[compute]\ndevices = ["cpu", "cpu"]\n')
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(supervisor.supervise(folder)))
    thread.start()
    points = [folder.path / f"points/{k:03d}" for k in range(6)]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all((point / "shards/0/events.jsonl").exists() for point in points[:2]):
        time.sleep(0.02)
    assert all(RunFolder(point).status().state == "running" for point in points[:2]), "two devices, two points at once"
    assert not points[2].exists()
    folder.send("stop")
    thread.join(60)
    assert ended[0].state == "interrupted" and supervisor.exit_code(ended[0]) == 130
    assert RunFolder(points[0]).status().state == "interrupted" and not points[2].exists()
    assert supervisor.supervise(scripted("done()")).state == "done"


def test_a_killed_sweep_reads_as_crashed_and_resumes(scripted: Script, tmp_path: Path):
    folder = scripted("done() if revision == 'step-0' else (log.append(RunStarted('llc', 'p')), wait_for_stop())")
    process = supervised_apart(tmp_path / "worker.py", folder)
    second = folder.path / "points/001/shards/0"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (second / "events.jsonl").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert folder.status().state == "crashed"
    assert supervisor.supervise(scripted("done()")).state == "done"
