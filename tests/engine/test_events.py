"""Events: every one survives JSON, whatever text is in it stays on one safe line, and a damaged line is a ValueError and nothing else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_tui_engine.events import (
    ArrayWritten,
    Artifact,
    ChainFailed,
    Checkpoint,
    Event,
    Metrics,
    Phase,
    Progress,
    RunFinished,
    RunStarted,
    Stamped,
    Unknown,
    Warned,
    from_line,
    to_line,
    type_of,
)
from interp_tui_engine.numbers import finite

EVENTS: list[Event] = [
    RunStarted("llc", "tiny", "cpu", True, {"weights_sha256": "ab", "compute": {"chains": "serial"}}),
    Phase("sampling", "4 chains"),
    Progress(3.0, 4.0, "draws", 1.5),
    Progress(3.0, 4.0, "draws"),
    Metrics("chains", 7, {"loss": [1.0, None], "llc": 2.5}),
    ArrayWritten("loss.zarr", ("chain", "draw"), (4, 100), 12),
    Artifact("figures/trace.svg", "loss"),
    Checkpoint("shards/0/checkpoint", 40),
    ChainFailed(2, 31, "loss not finite"),
    Warned("memory is low"),
    RunFinished("done", 12.5, {"llc_mean": 2.5}, "", ""),
]
TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)


def test_every_type_is_here() -> None:
    assert {type(event) for event in EVENTS} == set(type_of.values())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_round_trip(event: Event) -> None:
    for stamped in (Stamped(1, 1700000000.125, event), Stamped(9, 2.0, event, shard=3, shard_seq=4)):
        assert from_line(to_line(stamped)) == stamped
        assert from_line(to_line(stamped).encode()) == stamped


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_what_every_line_holds(event: Event) -> None:
    record = json.loads(to_line(Stamped(5, 2.0, event)))
    assert record["v"] == 1 and record["seq"] == 5 and record["t"] == 2.0 and record["type"] == event.type


@given(TEXT, TEXT)
def test_any_text_stays_on_one_safe_line(name: str, detail: str) -> None:
    line = to_line(Stamped(1, 0.0, Phase(name, detail)))
    assert line.isascii() and line.isprintable()
    assert len(line.splitlines()) == 1
    event = from_line(line).event
    assert isinstance(event, Phase) and (event.name, event.detail) == (name, detail)


@given(JSON)
def test_any_values_are_valid_json(value: Any) -> None:
    line = to_line(Stamped(1, 0.0, Metrics("s", 0, {"x": value})))
    event = from_line(line).event
    assert isinstance(event, Metrics)
    assert event.values == finite({"x": value})


def test_numbers_that_are_not_finite_become_null_and_come_back() -> None:
    line = to_line(Stamped(1, 0.0, Progress(math.nan, 4.0, "draws", math.inf)))
    assert json.loads(line)["done"] is None
    assert from_line(line).event == Progress(0.0, 4.0, "draws", None)


def test_an_event_of_a_newer_version_is_kept() -> None:
    line = '{"v":2,"seq":3,"t":1.0,"type":"hologram","data":[1]}'
    stamped = from_line(line)
    assert isinstance(stamped.event, Unknown)
    assert json.loads(to_line(stamped))["data"] == [1]
    assert json.loads(to_line(stamped))["type"] == "hologram"


def test_fields_of_a_newer_version_are_dropped() -> None:
    assert from_line('{"seq":3,"t":1,"type":"phase","name":"x","colour":"red"}').event == Phase("x")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        '"text"',
        "\x00\x00",
        b"\xff\xfe",
        '{"type":"phase"}',
        '{"seq":"1","type":"phase","name":"x"}',
        '{"seq":true,"type":"phase","name":"x"}',
        '{"seq":1,"type":"phase"}',
        '{"seq":1,"type":"phase","name":3}',
        '{"seq":1,"type":"progress","done":"3","total":4,"unit":"x"}',
        '{"seq":1,"type":"metrics","series":"s","step":1.5}',
        '{"seq":1,"type":"metrics","series":"s","step":1,"values":[]}',
        '{"seq":1,"type":"array","path":"p","shape":3}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_event(line: str | bytes) -> None:
    with pytest.raises(ValueError):
        from_line(line)


RECORDS = st.fixed_dictionaries({"seq": JSON, "t": JSON, "type": st.sampled_from(sorted(type_of)), "name": JSON, "shard": JSON})


@settings(max_examples=100, deadline=None)
@given(st.one_of(JSON, RECORDS))
def test_any_json_is_an_event_or_a_value_error(value: Any) -> None:
    try:
        stamped = from_line(json.dumps(value))
    except ValueError:
        return
    assert isinstance(stamped, Stamped)
    assert type(stamped.seq) is int and type(stamped.t) is float
    assert stamped.shard is None or type(stamped.shard) is int
