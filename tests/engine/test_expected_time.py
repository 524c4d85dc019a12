"""How long a run will take: from past runs of the kind, else from the machine and what else runs on it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from interp_tui_engine import atomic, catalog, expected_time, manifest
from interp_tui_engine.catalog import Estimate
from interp_tui_engine.eventlog import EventLog
from interp_tui_engine.events import RunFinished, RunStarted
from interp_tui_engine.expected_time import PastRun, from_past, past_runs, slowdown
from interp_tui_engine.experiments._sampling.restriction_check import parts_of
from interp_tui_engine.experiments.calibrate import params as calibration
from interp_tui_engine.experiments.development.params import checkpoint_manifest
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import cost as runtime_cost
from interp_tui_engine.status import Status

TEXT = """
kind = "logit_lens"
[model]
source = "builtin:tiny"
[params]
prompt = "The capital of France is"
answer = " Paris"
"""


def cost(request: Manifest) -> Estimate:
    """An operation count that knows the length of the prompt only."""
    return Estimate(float(len(request.params.prompt)), None, None)


def finished(root: Path, name: str, seconds: float, text: str = TEXT, *, resumed: bool = False, state: str = "done") -> RunFolder:
    folder = RunFolder.create(root / name)
    atomic.write_text(folder.manifest_path, text)
    log = EventLog(folder.events_path)
    log.append(RunStarted("logit_lens", name, resumed=resumed))
    log.append(RunFinished(state, seconds))  # type: ignore[arg-type]
    log.close()
    atomic.write_json(folder.path / "status.json", Status(state=state, kind="logit_lens", name=name).to_json())  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_time, "_load", lambda: 0.0)
    expected_time._past_runs.cache_clear()


def test_the_same_run_took_what_it_will_take(tmp_path: Path) -> None:
    for index, seconds in enumerate((80.0, 84.0, 76.0)):
        finished(tmp_path, f"r{index}", seconds)
    found = expected_time.expected(manifest.parse(TEXT), tmp_path, cost)
    assert found.seconds == pytest.approx(80.0)
    assert found.low is not None and found.high is not None and 40 < found.low < 76 and 84 < found.high < 160
    assert found.notes[-1] == "time: from 3 past runs of this kind here"


def test_a_longer_run_takes_longer_in_proportion_and_its_range_is_wider(tmp_path: Path) -> None:
    finished(tmp_path, "r", 80.0)
    one, ten = (expected_time.expected(manifest.parse(TEXT.replace("France", "x" * width)), tmp_path, cost) for width in (6, 230))
    assert one.seconds and ten.seconds and one.low and ten.low and one.high and ten.high
    assert ten.seconds == pytest.approx(80.0 * cost(manifest.parse(TEXT.replace("France", "x" * 230))).seconds / 24)  # type: ignore[operator]
    assert ten.high / ten.low > one.high / one.low


def test_what_is_no_measurement_is_passed_over(tmp_path: Path) -> None:
    finished(tmp_path, "resumed", 5.0, resumed=True)
    finished(tmp_path, "failed", 5.0, state="failed")
    finished(tmp_path, "broken", 5.0, text="kind = [")
    finished(tmp_path, "elsewhere", 5.0, text=TEXT.replace('source = "builtin:tiny"', 'source = "builtin:tiny"\ndevice = "cuda:0"'))
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file").write_text("x")
    assert past_runs(manifest.parse(TEXT), tmp_path, cost) == ()
    assert past_runs(manifest.parse(TEXT), tmp_path / "none", cost) == ()


def test_the_nearest_in_size_count() -> None:
    past = [PastRun(10.0, 10.0)] * 5 + [PastRun(1000.0, 3000.0)] * 5
    small, large = (from_past(Estimate(seconds, None, None), past) for seconds in (12.0, 900.0))
    assert small.seconds == pytest.approx(12.0) and large.seconds == pytest.approx(2700.0)


def test_without_past_runs_the_range_is_a_factor_of_three_and_a_busy_machine_is_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = expected_time.expected(manifest.parse(TEXT), tmp_path, cost)
    assert (quiet.seconds, quiet.low, quiet.high) == (24.0, 8.0, 72.0) and "no run of the kind here yet" in quiet.notes[-1]
    monkeypatch.setattr(expected_time, "_load", lambda: 8.0)
    monkeypatch.setattr(expected_time.psutil, "cpu_count", lambda: 4)
    busy = expected_time.expected(manifest.parse(TEXT), tmp_path, cost)
    assert busy.seconds == pytest.approx(72.0) and "3.0 times slower" in busy.notes[-1]
    assert slowdown(0.0, 4) == 1.0 and slowdown(1.0, 2) == 1.5


def test_an_unknown_time_stays_unknown(tmp_path: Path) -> None:
    found = expected_time.expected(manifest.parse(TEXT), tmp_path, lambda request: Estimate(None, 5, None))
    assert (found.seconds, found.low, found.high, found.memory_bytes) == (None, None, None, 5)


@pytest.mark.parametrize("name", catalog.kind_names())
def test_every_kinds_example_has_a_time(name: str) -> None:
    kind = catalog.get(name)
    request = manifest.resolve({"kind": name, **kind.example})
    assert kind.estimate(request).seconds is not None


@pytest.mark.parametrize("name", [name for name in catalog.kind_names() if catalog.get(name).example.get("data")])
def test_a_model_whose_size_is_known_has_a_time_however_much_data_there_is(name: str) -> None:
    kind = catalog.get(name)
    tables = {**kind.example, "data": {key: {k: v for k, v in spec.items() if k != "rows"} for key, spec in kind.example["data"].items()}}
    assert kind.estimate(manifest.resolve({"kind": name, **tables})).seconds is not None


@pytest.mark.parametrize(("name", "count", "what"), [("calibrate", 6, "samplings"), ("development", 14, "samplings of checkpoints")])
def test_a_kind_of_many_runs_starts_once(name: str, count: int, what: str) -> None:
    kind = catalog.get(name)
    request = manifest.resolve({"kind": name, **kind.example})
    one = kind.estimate(request)
    assert one.notes[-1] == f"{count} {what}" and one.seconds is not None
    if name == "calibrate":
        inner = calibration.cell_manifest(request, calibration.cells(request.params)[0])
    else:
        inner = checkpoint_manifest(request, "final")
    single = catalog.get(inner.kind).estimate(inner).seconds
    assert single is not None
    assert one.seconds - runtime_cost.START_SECONDS == pytest.approx(count * (single - runtime_cost.START_SECONDS))


def test_parts_cost_what_moves_in_them() -> None:
    kind = catalog.get("susceptibilities")

    def work(*restrictions: str) -> float:
        tables = {**kind.example, "params": {**kind.example["params"], "restrictions": list(restrictions)}}
        seconds = kind.estimate(manifest.resolve({"kind": "susceptibilities", **tables})).seconds
        assert seconds is not None
        return seconds - runtime_cost.START_SECONDS

    whole_and_first, whole_and_last = work("l0 mlp"), work("l3 mlp")
    assert whole_and_last < whole_and_first
    assert work("layers") == pytest.approx(work("l0", "l1", "l2", "l3"))
    assert work("heads") == pytest.approx(work(*(f"l{layer}h{head}" for layer in range(4) for head in range(8))))


def test_the_heads_of_a_gguf_file_are_counted_in_its_header(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(3)
    writer.add_head_count(5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    kind = catalog.get("susceptibilities")
    tables = {**kind.example, "model": {"source": str(path)}, "params": {**kind.example["params"], "restrictions": ["heads"]}}
    request = manifest.resolve({"kind": "susceptibilities", **tables})
    assert parts_of(request, "heads") == [f"l{layer}h{head}" for layer in range(3) for head in range(5)]
    assert kind.estimate(request).seconds is not None


def test_a_kind_that_reads_files_only_does_not_pay_for_torch() -> None:
    for name in ("attribution_graph", "match"):
        kind = catalog.get(name)
        seconds = kind.estimate(manifest.resolve({"kind": name, **kind.example})).seconds
        assert seconds is not None and seconds < runtime_cost.START_SECONDS / 2


@pytest.mark.parametrize("name", ["activation_patch", "causal_trace"])
def test_every_pair_of_a_file_is_paid_for(tmp_path: Path, name: str) -> None:
    line = '{"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}\n'
    kind, work = catalog.get(name), []
    for count in (4, 40):
        (tmp_path / f"{count}.jsonl").write_text(line * count)
        tables = {**kind.example, "params": {"pairs": str(tmp_path / f"{count}.jsonl")}}
        estimate = kind.estimate(manifest.resolve({"kind": name, **tables}))
        assert estimate.seconds is not None and f"{count} pairs of" in estimate.notes[-1]
        work.append(estimate.seconds - runtime_cost.START_SECONDS)
    assert work[1] == pytest.approx(10 * work[0])


def test_how_far_estimates_were_off_by_kind(tmp_path: Path) -> None:
    prompt = len("The capital of France is")
    for index, factor in enumerate((0.5, 2.0, 3.0)):
        finished(tmp_path, f"r{index}", factor * prompt)
    finished(tmp_path, "resumed", 999.0, resumed=True)
    finished(tmp_path, "failed", 999.0, state="failed")
    found = expected_time.by_kind(tmp_path, cost)
    assert sorted(run.factor for run in found["logit_lens"]) == pytest.approx([0.5, 2.0, 3.0]) and len(found) == 1


def test_work_at_a_lower_priority_takes_little_from_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads at niceness 10 weigh as much as one of this process's: a run beside them is not five times slower."""

    class Other:
        def __init__(self, nice: int, status: str = psutil.STATUS_RUNNING) -> None:
            self.pid, self.info = -1, {"nice": nice, "status": status}

    monkeypatch.undo()
    monkeypatch.setattr(psutil, "getloadavg", lambda: (8.0, 0.0, 0.0))
    mine = psutil.Process().nice()
    for others, threads in (([10] * 8, 0.86), ([0] * 8, 8.0), ([10, 10, 10, 0], 2.64), ([], 8.0)):
        beside = [Other(mine + more) for more in others] + [Other(mine, psutil.STATUS_SLEEPING)]
        monkeypatch.setattr(psutil, "process_iter", lambda _, beside=beside: iter(beside))
        expected_time._weight.cache_clear()
        assert expected_time._load() == pytest.approx(threads, rel=0.01)
