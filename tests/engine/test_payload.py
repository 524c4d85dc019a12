"""Typed payloads: strict where they are made, tolerant where they are read, and described throughout."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from interp_tui_engine import catalog, payload, results
from interp_tui_engine.payload import Grid, NumbersByName, Payload, Row
from interp_tui_engine.uncertainty import Uncertainty


class Part(Payload):
    name: str = Field(description="a name")
    size: int | None = Field(description="a count")


class Whole(Payload):
    share: float | None = Field(description="a number")
    count: int | None = Field(None, description="a count")
    word: str = Field(description="a word")
    flag: bool | None = Field(description="yes or no")
    start: int | None = Field(
        default=None, validation_alias="from", serialization_alias="from", description="under a name that Python keeps for itself"
    )
    tone: Literal["", "good", "bad"] = Field("good", description="one of three")
    row: Row = Field(description="numbers")
    grid: Grid = Field(description="rows of numbers")
    layers: tuple[int, ...] = Field(description="whole numbers")
    words: tuple[str, ...] | None = Field(description="words, or none")
    part: Part = Field(description="a table")
    parts: tuple[Part, ...] = Field((), description="tables")
    table: Mapping[str, float | None] = Field(default_factory=dict, description="numbers by name")
    bars: Mapping[str, Uncertainty] = Field(default_factory=dict, description="error bars")
    anything: Any = Field(None, description="as it is")


FULL: dict[str, Any] = {
    **{"share": 0.5, "count": 3, "word": "w", "flag": True, "from": 2, "tone": "bad", "row": [1, None, 2.5], "grid": [[1.0], [None]]},
    **{"layers": [0, 2], "words": ["a"], "part": {"name": "p", "size": 1}, "parts": [{"name": "q", "size": None}]},
    **{"table": {"x": 1.5}, "bars": {"share": {"std_error": 0.1, "over": "4 chains"}}, "anything": {"k": [1]}},
}
HUGE = 10**400
DAMAGE = (None, True, "x", -1, 0.5, float("nan"), float("inf"), HUGE, -HUGE, [], [[]], {}, {"a": {}}, [None, {}, "x"])


def test_what_fits_is_read_as_it_stands() -> None:
    assert payload.differences(Whole, FULL) == []
    whole = payload.read(Whole, FULL)
    assert (whole.share, whole.count, whole.word, whole.flag, whole.start, whole.tone) == (0.5, 3, "w", True, 2, "bad")
    assert (whole.row, whole.grid, whole.layers, whole.words) == ((1.0, None, 2.5), ((1.0,), (None,)), (0, 2), ("a",))
    assert (whole.part.name, whole.parts[0].size, whole.table["x"]) == ("p", None, 1.5)
    assert whole.bars["share"] == Uncertainty("4 chains", 0.1) and whole.anything == {"k": [1]}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"shares": 1}, "shares: "),
        ({"share": "0.5"}, "share: "),
        ({"count": 3.5}, "count: "),
        ({"flag": 1}, "flag: "),
        ({"part": {"name": "p", "size": 1, "sise": 2}}, "part.sise: "),
        ({"parts": [{"name": "q"}]}, "parts.0.size: "),
        ({"table": {"x": "1"}}, "table.x: "),
        ({"bars": {"share": {"error": 1.0}}}, "bars.share.error: "),
        ({"tone": "odd"}, "tone: "),
    ],
)
def test_a_writer_is_told_of_every_key_that_does_not_fit(change: dict[str, Any], where: str) -> None:
    (found,) = payload.differences(Whole, FULL | change)
    assert found.startswith(where)


def test_numbers_that_are_not_finite_are_written_as_null_and_fit() -> None:
    assert payload.differences(Whole, FULL | {"share": float("nan"), "row": [float("inf")]}) == []


def test_a_key_that_is_always_written_may_not_be_missing() -> None:
    assert payload.differences(Whole, {key: value for key, value in FULL.items() if key != "share"}) == ["share: Field required"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("key", [key for key in FULL if key != "anything"])
def test_a_damaged_field_costs_only_itself(key: str, damage: Any) -> None:
    whole, good = payload.read(Whole, FULL | {key: damage}), payload.read(Whole, FULL)
    names = {field.serialization_alias or name: name for name, field in Whole.model_fields.items()}
    for other, name in names.items():
        value = getattr(whole, name)
        if other != key:
            assert value == getattr(good, name)
        else:
            empty = getattr(payload.read(Whole, {}), name)
            assert value is empty or type(value) in (type(empty), type(getattr(good, name)))


def test_a_payload_is_written_as_it_was_given() -> None:
    """The same bytes as the dict of its values: the order in which they were given, whole numbers whole, nothing added or checked."""
    parts, bars = (Part(size=None, name="q"),), {"x": Uncertainty("4 chains", 0.1)}
    whole = Whole(
        **{"start": 2, "share": 1, "count": 3, "word": "w", "flag": True, "row": (1, None, float("nan")), "grid": ((1.0,), ())},
        **{"layers": (0, 2), "part": Part(name="p", size=1), "parts": parts, "table": {"x": 2}, "bars": bars},
    )
    given = {"from": 2, "share": 1, "count": 3, "word": "w", "flag": True, "row": [1, None, float("nan")], "grid": [[1.0], []]}
    given |= {"layers": [0, 2], "part": {"name": "p", "size": 1}, "parts": [{"size": None, "name": "q"}], "table": {"x": 2}}
    given |= {"bars": {"x": {"over": "4 chains", "std_error": 0.1, "level": 0.95}}}
    assert json.dumps(whole.as_json()) == json.dumps(given)
    assert whole.tone == "good" and whole.anything is None, "what was left out has its default"
    assert payload.read(Whole, given) == payload.read(Whole, whole.as_json())


def test_a_fault_of_the_writer_costs_no_run_and_is_found_before_it_is_written() -> None:
    damaged = Part(**{"name": 3, "sise": 2})  # type: ignore[arg-type]
    assert payload.differences(Part, damaged.as_json()) == [
        "name: Input should be a valid string",
        "sise: Extra inputs are not permitted",
        "size: Field required",
    ]


def test_names_that_only_the_run_knows_are_written_and_read() -> None:
    numbers = NumbersByName(**{"L0.mlp_out": 0.5, "L1.mlp_out": 2})
    assert json.dumps(numbers.as_json()) == '{"L0.mlp_out": 0.5, "L1.mlp_out": 2}'


def test_a_payload_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Part(name="p", size=1).size = 2  # type: ignore[misc]


@pytest.mark.parametrize("stored", [None, 3, "text", [], [{}], {}, {"unknown": 1}])
def test_what_is_no_table_reads_as_an_empty_one(stored: object) -> None:
    whole = payload.read(Whole, stored)
    assert (whole.share, whole.word, whole.row, whole.words, whole.tone, whole.part.name) == (None, "", (), None, "good", "")


def test_positions_hold_where_items_are_damaged() -> None:
    whole = payload.read(
        Whole, {"row": [1, "x", 3], "grid": [[1], "x", [2]], "words": ["a", 1], "parts": ["x", {"name": "q"}]} | {"layers": [0, "x", 2]}
    )
    assert (whole.row, whole.grid, whole.words) == ((1.0, None, 3.0), ((1.0,), (), (2.0,)), ("a", ""))
    assert [part.name for part in whole.parts] == ["", "q"]
    assert whole.layers == (0, 2), "a whole number has no empty value to hold its place with"


def test_a_field_without_an_empty_value_is_refused_when_it_is_stated() -> None:
    class Careless(Payload):
        count: int = Field(description="never null, so nothing stands for a damaged one")

    with pytest.raises(TypeError, match=r"Careless\.count"):
        payload.read(Careless, {})


def payloads() -> list[type[Payload]]:
    """Every type of the results, found by their files."""
    found: dict[type[Payload], None] = {}
    for file in pkgutil.iter_modules(results.__path__):
        module = importlib.import_module(f"{results.__name__}.{file.name}")
        found |= dict.fromkeys(each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Payload))
    return list(found)


@pytest.mark.parametrize("cls", payloads(), ids=lambda cls: cls.__name__)
def test_every_type_can_be_read_from_nothing_and_says_what_its_fields_mean(cls: type[Payload]) -> None:
    payload.read(cls, {})
    schema = payload.json_schema(cls)
    for table in (schema, *schema.get("$defs", {}).values()):
        for name, field in table.get("properties", {}).items():
            assert table["title"] == "Uncertainty" or field.get("description"), f"{cls.__name__}.{name} is not described"


@pytest.mark.parametrize("name", catalog.kind_names())
def test_every_kind_states_its_result_and_its_headline(name: str) -> None:
    kind = catalog.get(name)
    assert kind.result is not None and kind.headline is not None and kind.live


def test_results_import_nothing_heavy() -> None:
    names = ", ".join(f"interp_tui_engine.results.{file.name}" for file in pkgutil.iter_modules(results.__path__))
    script = f"import sys, {names}\nprint([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'xarray', 'zarr', 'textual')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
