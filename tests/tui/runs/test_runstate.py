"""The reducer: whatever a log holds, in whatever order it was cut, a run state comes out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fake_run import CAUSE, FINISHED, WARNING, Chains, beginning, certification, sampling
from hypothesis import given, settings
from hypothesis import strategies as st
from long_log import write_long

from interp_tui.runs.follow import Follower, newest
from interp_tui.runs.runstate import NOTES, RunState
from interp_tui_engine.events import Event, Metrics, Progress, RunStarted, Stamped, Unknown, from_line, to_line
from interp_tui_engine.runfolder import Owner, RunFolder, Status


def reduced(events: list[Event], state: RunState | None = None) -> RunState:
    state = state or RunState()
    state.apply_all(Stamped(seq, 100.0 + seq, event) for seq, event in enumerate(events, 1))
    return state


def picture(state: RunState) -> dict[str, Any]:
    """All that a screen takes from a state, but for what counts events."""
    traces = {chain: trace.extremes(0, 10_000, 80) for chain, trace in state.traces.items()}
    chains = [(row.chain, row.draws, row.loss, row.failure) for row in state.chains()]
    return {"traces": traces, "chains": chains, "latest": state.latest, "done": (state.done, state.total), "failures": state.failures}


def test_a_run_is_read_to_its_end() -> None:
    state = reduced([*sampling(200, fail={2: 31}), WARNING, FINISHED])
    assert (state.kind, state.name, state.device, state.phase) == ("llc", "pythia-scan", "cpu", "sampling")
    assert [row.chain for row in state.chains()] == [0, 1, 2, 3]
    failed = state.chains()[2]
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.cause) == (31, CAUSE)
    assert failed.loss is None
    assert state.traces[0].last == 199
    assert state.traces[2].last == 30
    assert state.draws_total == 200
    assert list(state.warnings) == [WARNING.message]
    assert state.ending is not None
    assert state.ending.state == "done"
    assert state.value("estimate", "rhat") == pytest.approx(1.02)


def test_certification_keeps_a_case_a_step() -> None:
    state = reduced([*certification(3), *certification(4)])
    assert sorted(state.cases) == [0, 1, 2, 3]
    assert state.unit == "cases"


@given(st.integers(0, 70))
@settings(max_examples=25, deadline=None)
def test_any_prefix_is_a_state(stop: int) -> None:
    events = [*sampling(200, fail={2: 31}), FINISHED][:stop]
    state = reduced(events)
    assert state.version == len(events)
    for row in state.chains():
        assert row.draws <= 200


@given(st.integers(1, 20), st.integers(0, 19))
@settings(max_examples=25, deadline=None)
def test_a_resumed_run_shows_what_an_unbroken_one_shows(blocks: int, back: int) -> None:
    source = Chains(3, 200, fail={1: 60})
    unbroken = beginning()
    for start in range(0, 200, 10):
        unbroken += source.events(start, start + 10)
    checkpoint = 10 * min(back, blocks)
    broken = beginning()
    for start in range(0, 10 * blocks, 10):
        broken += source.events(start, start + 10)
    broken += beginning(resumed=True)
    for start in range(checkpoint, 200, 10):
        broken += source.events(start, start + 10)
    assert picture(reduced(broken)) == picture(reduced(unbroken))


def test_a_resumed_run_that_retells_its_past_in_means_loses_no_draw() -> None:
    state = reduced(sampling(100))
    before = state.traces[0].means(0, 100, 100)
    retold = Metrics("chains", 100, {"chains": [0], "trace": [[[24, 1.0], [49, 1.0], [74, 1.0], [99, 1.0], [124, 3.3]]]})
    reduced([retold], state)
    assert state.traces[0].means(0, 100, 100) == before
    assert state.traces[0].last == 124


def test_a_run_begun_again_from_the_start_forgets_its_failures() -> None:
    events = [*sampling(60, fail={2: 31}), RunStarted("llc", "x", resumed=False)]
    assert not reduced(events).failures
    assert reduced([*sampling(60, fail={2: 31}), RunStarted("llc", "x", resumed=True)]).failures


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
keys = st.sampled_from(["chains", "trace", "draws", "loss", "llc", "step", "x"])
json_values = (
    scalars | st.lists(scalars | st.lists(scalars, max_size=3), max_size=3) | st.dictionaries(keys, scalars | st.lists(scalars, max_size=3))
)
TYPES = ["run_started", "phase", "progress", "metrics", "chain_failed", "run_finished", "warning", "new"]
FIELDS = ["t", "shard", "kind", "name", "provenance", "done", "total", "unit", "chain", "step", "cause", "values", "message", "headline"]
records = st.fixed_dictionaries(
    {"seq": st.integers(), "type": st.sampled_from(TYPES), "series": st.sampled_from(["chains", "estimate", "case", "headline"])},
    optional=dict.fromkeys(FIELDS, json_values),
)


@given(st.lists(records, max_size=6))
@settings(max_examples=60, deadline=None)
def test_nothing_that_can_be_written_breaks_it(found: list[dict[str, Any]]) -> None:
    state = RunState()
    for record in found:
        try:
            stamped = from_line(json.dumps(record))
        except ValueError:
            continue
        state.apply(stamped)
    state.chains()
    assert state.draws_total >= 0
    assert state.burnin >= 0


@given(json_values, json_values)
@settings(max_examples=60, deadline=None)
def test_chain_events_of_any_shape_are_survived(chains: Any, trace: Any) -> None:
    state = reduced([Metrics("chains", 1, {"chains": chains, "trace": trace, "draws": trace, "loss": chains})])
    state.chains()


def test_memory_does_not_grow_with_the_log() -> None:
    events: list[Event] = [Unknown({"type": "new"})] * (NOTES + 50) + [Metrics(f"s{i}", 0, {f"n{i}": 1.0}) for i in range(2000)]
    state = reduced(events)
    assert len(state.notes) == NOTES
    assert state.noted == NOTES + 50
    assert len(state.latest) <= 512
    assert len(state.series) <= 512


def run_folder(path: Path) -> RunFolder:
    folder = RunFolder.create(path)
    folder.manifest_path.write_text('kind = "llc"\n')
    folder.write_status(Status("running", "llc", "long", owner=Owner.me(), updated=time.time()))
    return folder


def test_a_log_of_100_000_events_opens_in_about_a_second(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "long")
    write_long(folder, 100_000)
    follower = Follower(folder)
    start = time.process_time()
    while follower.read().more:
        pass
    # CPU time, which a busy machine stretches less than the clock; measured 0.5 to 1.0 s
    assert time.process_time() - start < 3.0
    assert follower.state.traces[0].last > 30_000
    assert len(follower.state.traces[0]) <= 1024
    assert follower.state.latest["headline"]["llc_mean"] == 38.2


def test_skimming_a_long_log_ends_where_reading_it_does(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "long")
    write_long(folder, 4_000)
    follower = Follower(folder)
    while follower.read().more:
        pass
    plain = RunState()
    plain.apply_all(map(from_line, folder.events_path.read_text().splitlines()))
    assert follower.state.version < plain.version
    assert picture(follower.state) == picture(plain)


def test_only_what_later_lines_replace_is_left_out() -> None:
    lines = [to_line(Stamped(i, 1.0, e)).encode() for i, e in enumerate([*sampling(40, fail={1: 12}), WARNING])]
    kept = newest(lines)
    dropped = [from_line(line).event for line in lines if line not in kept]
    assert all(isinstance(e, Progress) or (isinstance(e, Metrics) and e.series in {"estimate", "headline"}) for e in dropped)
    assert len(dropped) == 9


def test_torn_lines_wait_and_broken_ones_are_passed_over(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "torn")
    lines = [to_line(Stamped(seq, 1.0, event)) + "\n" for seq, event in enumerate(sampling(60), 1)]
    whole = "".join(lines)
    follower = Follower(folder)
    for cut in (10, len(lines[0]), len(whole) // 2, len(whole) - 1):
        folder.events_path.write_text(whole[:cut])
        follower.read()
        assert follower.state.version == whole[:cut].count("\n")
    folder.events_path.write_text(whole + "not an event\n\x00\xff\n" + lines[0])
    follower.read()
    assert follower.state.version == len(lines) + 1


def test_what_several_workers_tell_of_their_chains_stands_together() -> None:
    state = RunState()

    def told(shard: int, chains: list[int], distance: float | None) -> Stamped:
        parts = [None if distance is None else {"distance": distance + chain} for chain in chains]
        values = {"chains": chains, "step": [5] * len(chains), "steps_total": 9, "draws": [1] * len(chains), "parts": parts}
        return Stamped(1, 1.0, Metrics("chains", 5, values), shard, 1)

    state.apply_all([told(1, [2, 3], 0.5), told(0, [0, 1], 0.25), told(1, [2, 3], 1.0)])
    assert [row.chain for row in state.chains()] == [0, 1, 2, 3]
    assert {chain: part.distance for chain, part in state.step_parts().items()} == {0: 0.25, 1: 1.25, 2: 3.0, 3: 4.0}
    state.apply(told(2, [0, 1, 2, 3], None))  # who joins them has taken no step
    assert len(state.step_parts()) == 4
    state.apply_all(Stamped(2, 1.0, Metrics("now", 3, {"restriction": name}), shard, 2) for shard, name in ((0, "l0h1"), (1, "embed")))
    assert [now["restriction"] for now in state.now.values()] == ["l0h1", "embed"]


def test_logs_of_several_workers_are_told_apart(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "logs")
    follower = Follower(folder)
    for shard, text in ((0, "a\n"), (1, "b\n")):
        folder.shard(shard).mkdir(parents=True)
        (folder.shard(shard) / "engine.log").write_text(text)
        follower.read()
    with (folder.shard(0) / "engine.log").open("a") as file:
        file.write("c\n")
    follower.read()
    assert list(follower.log.lines) == ["a", "1: b", "0: c"]
    assert follower.log.read_in_all == 3
