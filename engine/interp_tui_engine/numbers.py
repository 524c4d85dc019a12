"""Numbers that may not be any, and numbers as text: one way for reports, listings and screens. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

UNKNOWN = "—"
"""What stands where a number is not known or not finite."""


def as_finite(value: Any) -> float | None:
    """The value as a float if it is a finite number, numpy's included; None for anything else, truth values too."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def finite(value: Any) -> Any:
    """The value with every float that is not finite replaced by None, in nested lists and mappings too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value


def short(value: float | None, digits: int = 3) -> str:
    """`digits` significant figures, all digits before the point, thousands apart: `0.0123`, `38.2`, `12,346`; `—` for what is not known.

    From a million on and below a thousandth with a power of ten, and one figure fewer for its room: `1.2e-05`. Whole numbers are counts, or
    places such as a layer: `2`.
    """
    if isinstance(value, int) and abs(value) < 10**6:
        return f"{value:,}"
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return f"{value:.{max(0, digits - 2)}e}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
