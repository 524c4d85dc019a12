"""The rows of the migration page: ours beside what each peer gave when it was run (`make parity` runs both)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import interp_tui_engine as engine
from in_process import api_runs_here
from interp_tui_engine.models.builtin_index import builtin_models
from parity import objects, objects_work, own_tests, page, sides
from parity.rows import Numbers, Row, near, verdict

ROWS = {f"{name}: {row.key}": (name, row) for name, peer in sides.PEERS.items() for row in peer.rows}


@pytest.fixture(scope="module", autouse=True)
def _runs_in_this_process() -> Iterator[None]:
    """Without the seconds that a process takes to start."""
    with api_runs_here():
        yield


@cache
def ours(name: str) -> dict[str, Numbers | None]:
    return {row.key: numbers for row, numbers in sides.ours_of(sides.PEERS[name])}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ROWS)
def test_a_row_is_what_it_says(case: str) -> None:
    name, row = ROWS[case]
    theirs = sides.recorded(name).get(row.key)
    assert theirs is not None, "the peer gave nothing"
    assert verdict(row, ours(name).get(row.key), theirs) == ("passed" if row.outcome == "same" else "differs")


def test_the_pages_tables_are_the_rows() -> None:
    """`python -m tests.parity --page` writes them."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_tables(text) == text
    assert all(page.table(peer) in text for peer in sides.PEERS.values()) and objects.table() in text
    assert builtin_models(), "the rows of interp and interpretability-toolkit are of the embedded model"


def test_keys_are_unique_and_recorded() -> None:
    for name, peer in sides.PEERS.items():
        keys = [row.key for row in peer.rows]
        assert len(keys) == len(set(keys)) and set(keys) <= set(sides.recorded(name))


GIVEN = {f"{given.name}: {call}": (given, call) for given in objects.OBJECTS for call in objects.CALLS}


@cache
def plain() -> dict[str, Callable[[], Numbers]]:
    """Ours on the embedded model as transformers has it; an entry is computed when it is asked for."""
    return {name: cache(call) for name, call in objects_work.ours(*objects_work.embedded()).items()}


@pytest.mark.parametrize("case", GIVEN)
def test_an_object_of_another_library_gave_what_the_plain_model_gives(case: str) -> None:
    """Held to what its library gave in its own environment (`make parity` gives our calls the object itself)."""
    given, call = GIVEN[case]
    was = objects.recorded()[given.name][call]
    if call in given.refused:
        assert objects.verdict(given, call, was) == "refused"
    elif call in given.as_plain:
        assert objects.verdict(given, call, {**was, "ours": plain()[call]()}) == "same"
    else:
        assert was["theirs"]


@pytest.mark.parametrize("name", ["compiled", "bare module"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_objects_of_torch_itself_are_given_here(name: str) -> None:
    given = next(given for given in objects.OBJECTS if given.name == name)
    made = dict(objects_work.made("transformer_lens_4"))[name]()
    for call, found in objects_work.results(made).items():
        assert objects.verdict(given, call, found) == ("refused" if call in given.refused else "same"), (call, found)


@pytest.mark.parametrize(
    "module", ["slt.sampling", "slt.llc", "slt.bif", "slt.susceptibilities", "slt.weight_restrictions", "slt.sampler", "utils"]
)
def test_what_stands_for_devinterp_in_its_own_tests_is_ours(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.syspath_prepend(str(own_tests.SHIMS))
    for name in [name for name in sys.modules if name.partition(".")[0] == "devinterp"]:
        monkeypatch.delitem(sys.modules, name)
    shim = importlib.import_module(f"devinterp.{module}")
    assert Path(shim.__file__ or "").is_relative_to(own_tests.SHIMS) and shim.__all__
    assert all(getattr(shim, name) is getattr(engine, name) for name in shim.__all__)


def rows() -> Iterator[tuple[Row, str]]:
    same = Row("k", "", "", "same", "")
    yield same, "passed"
    yield Row("k", "", "", "differs", ""), "failed"


@pytest.mark.parametrize(("row", "state"), rows())
def test_a_row_that_differs_must_differ(row: Row, state: str) -> None:
    assert verdict(row, [1.0, 2.0], [1.0, 2.0]) == state
    assert verdict(row, None, [1.0]) == verdict(row, [1.0], None) == "failed"
    assert not near([1.0], [1.0, 2.0], row) and not near([float("nan")], [1.0], row)
