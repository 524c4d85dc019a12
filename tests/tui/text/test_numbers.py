"""Numbers with their errors, at every size a kind may find."""

from __future__ import annotations

import math

import pytest

from interp_tui.text.numbers import with_error


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (38.21, 0.93, "38.21 ± 0.93"),
        (3821.4, 12.0, "3,821 ± 12"),
        (0.02, 2e-4, "0.02000 ± 0.00020"),
        (-3e-6, 1.6e-6, "(-3.0 ± 1.6)e-06"),
        (-4.8e-5, 2.7e-7, "(-4.80 ± 0.03)e-05"),
        (2e-7, 5e-6, "(0.2 ± 5.0)e-06"),
        (0.0, 3e-12, "(0.0 ± 3.0)e-12"),
        (0.7, None, "0.700"),
        (0.7, 0.0, "0.700"),
        (0.7, math.nan, "0.700"),
        (math.nan, 0.1, "—"),
    ],
)
def test_two_figures_of_the_error_are_shown(value: float, error: float | None, said: str) -> None:
    assert with_error(value, error) == said
