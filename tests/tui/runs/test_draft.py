"""The form's texts and the manifest they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from interp_tui.runs.draft import DATASETS, Draft, literal, parse
from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import UserError

VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", categories=["L", "N", "P"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", catalog.kind_names())
def test_an_empty_form_is_the_kinds_example_and_runs_as_it_is(kind: str) -> None:
    draft = Draft.of_kind(kind)
    checked = manifest.parse(draft.toml())
    again = Draft.of_tables(checked.to_dict())
    assert manifest.parse(again.toml()) == checked
    assert len(again.toml()) <= len(checked.to_toml())


@given(VALUES)
def test_what_is_shown_reads_back(value: Any) -> None:
    if not isinstance(value, str) or (value.strip() == value and value):
        assert parse(literal(value), is_text=False) == value


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), (".5", 0.5), ("1.", 1.0), ("-.5", -0.5), ("1_000", 1000), ("true", True), ("x y", "x y")]
)
def test_numbers_as_people_type_them(text: str, value: Any) -> None:
    found = parse(text, is_text=False)
    assert found == value and type(found) is type(value)


def test_text_fields_take_text_as_it_stands() -> None:
    assert parse("123", is_text=True) == "123"
    assert parse('["l0h0", "l1h1"]', is_text=True) == ["l0h0", "l1h1"]


def test_a_dataset_comes_and_goes_with_its_name() -> None:
    draft = Draft.of_kind("llc")
    draft.set(DATASETS, "train")
    assert list(draft.tables()["data"]) == ["train"]
    draft.set(DATASETS, "train, mine,train")
    assert list(draft.tables()["data"]) == ["train", "mine"]
    assert "data.mine" in [section.title for section in draft.sections()]


def test_what_no_field_stands_for_is_kept() -> None:
    tables = tomli.loads('kind = "llc"\nname = "x"\n[sweep]\n"params.lr" = [1e-5, 1e-4]\n[params]\nnew_key = 3\nlr = 1e-4\n')
    kept = Draft.of_tables(tables).tables()
    assert kept["sweep"] == {"params.lr": [1e-5, 1e-4]}
    assert kept["params"]["new_key"] == 3


def test_a_kind_from_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match="no form for kind"):
        Draft.of_tables({"kind": "\x1b[31m"})
