"""Numbers as text, and what counts as a number: the rules that reports and screens share."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_tui.text.numbers import number
from interp_tui_engine.numbers import as_finite, finite, short
from interp_tui_engine.uncertainty import describe, none_known


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (38.24, 3, "38.2"),
        (-0.012345, 3, "-0.0123"),
        (0.5, 2, "0.50"),
        (12345.6, 3, "12,346"),
        (0.0000123, 3, "1.2e-05"),
        (1.5e9, 4, "1.50e+09"),
        (math.nan, 3, "—"),
        (math.inf, 3, "—"),
        (None, 3, "—"),
    ],
)
def test_a_number_in_few_characters(value: float | None, digits: int, text: str) -> None:
    assert short(value, digits) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(3, 6))
def test_what_is_written_is_within_its_last_figure(value: float, digits: int) -> None:
    written = Decimal(short(value, digits).replace(",", ""))
    figures = digits - 1 if value != 0 and not 1e-3 <= abs(value) < 1e6 else digits
    assert abs(written - Decimal(value)) <= abs(Decimal(value)) * Decimal(10) ** (1 - figures)


@given(st.floats(), st.integers(2, 5))
def test_screens_and_reports_write_a_number_alike(value: float, digits: int) -> None:
    assert number(value, digits) == short(value, digits)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        *((1, 1.0), (0.5, 0.5), (np.float32(0.5), 0.5), (np.int64(3), 3.0), (True, None), (math.nan, None), ("1", None), (None, None)),
        *((10**400, None), (np.float64("inf"), None), ([1.0], None)),
    ],
)
def test_what_counts_as_a_finite_number(value: Any, wanted: float | None) -> None:
    assert as_finite(value) == wanted and (wanted is None or type(as_finite(value)) is float)


def test_nested_values_lose_what_is_not_finite() -> None:
    assert finite({"a": [1.0, math.nan, (math.inf, 2)], 3: "x"}) == {"a": [1.0, None, [None, 2]], "3": "x"}


def test_whole_numbers_are_counts_and_places() -> None:
    """A layer is L2, not 2.00; a float that happens to be whole keeps its figures."""
    assert [short(value) for value in (2, 0, -3, 12_345, 2.0)] == ["2", "0", "-3", "12,345", "2.00"]
    assert describe(2, none_known("one prompt")) == "2 (no error bar: one prompt)"
