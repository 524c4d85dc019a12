"""A number as a mark on an axis that all rows of a table share."""

from __future__ import annotations

LARGEST = 1e300
"""The end of an axis for numbers whose sums are none any more."""


def on_axis(value: float | None, width: int, *, limit: float, mark: float, error: float = 0.0) -> str:
    """`value` on an axis of `width` cells from -limit to +limit, with 0 and ±mark marked: `    ┊   │ ├◆┤┊    `.

    `error` draws the interval value ± error. What lies beyond the axis points out of it.
    """
    limit = min(limit, LARGEST)
    cells = [" "] * width
    middle = (width - 1) / 2

    def cell(x: float) -> int:
        return round(middle + x / limit * middle)

    for x, sign in ((-mark, "┊"), (mark, "┊"), (0.0, "│")):
        cells[cell(x)] = sign
    if value is None:
        return "".join(cells)
    if abs(value) > limit:
        cells[-1 if value > 0 else 0] = "▶" if value > 0 else "◀"
        return "".join(cells)
    low, high = cell(max(-limit, value - error)), cell(min(limit, value + error))
    for index in range(low, high + 1):
        cells[index] = "├" if index == low else "┤" if index == high else "─"
    cells[cell(value)] = "◆"
    return "".join(cells)
