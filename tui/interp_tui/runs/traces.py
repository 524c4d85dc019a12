"""A numeric trace kept in bounded memory, however long the run: neighbouring draws share a bucket once there are too many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CAPACITY = 1024
"""Buckets kept; a power of two, and more than twice the columns of the widest terminal we draw on."""

MAX_DRAW = 2**53

FIRST, LAST, COUNT, SUM, SQUARES, LOW_AT, LOW, HIGH_AT, HIGH = range(9)
Bucket = list[float]


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance (ddof 0) of the values in some range of draws."""

    count: int
    mean: float
    variance: float


class DrawSeries:
    """Values by draw, as buckets of `width` draws (a power of two) that remember extremes, sum and sum of squares.

    A resumed run repeats the draws since its last checkpoint. A bucket starts afresh when its first draw comes again, so that repeated
    draws replace the earlier ones; a replay that begins inside a bucket leaves its extremes right because replayed draws are equal.
    """

    def __init__(self) -> None:
        self.width = 1
        self._buckets: list[Bucket | None] = []

    def __len__(self) -> int:
        return sum(1 for bucket in self._buckets if bucket)

    @property
    def last(self) -> int:
        """The highest draw seen, or -1."""
        return int(self._buckets[-1][LAST]) if self._buckets and self._buckets[-1] else -1

    def add(self, draw: int, value: float) -> None:
        """Record `value` at `draw`. Draws that no run can have and values that are not finite are passed over."""
        if not 0 <= draw < MAX_DRAW or not math.isfinite(value):
            return
        while draw // self.width >= CAPACITY:
            self._double()
        index = draw // self.width
        buckets = self._buckets
        if index >= len(buckets):
            buckets.extend([None] * (index - len(buckets)))
            buckets.append([draw, draw, 1, value, value * value, draw, value, draw, value])
            return
        bucket = buckets[index]
        if bucket is None or draw <= bucket[FIRST]:
            buckets[index] = [draw, draw, 1, value, value * value, draw, value, draw, value]
            return
        if draw > bucket[LAST]:
            bucket[LAST] = draw
            bucket[COUNT] += 1
            bucket[SUM] += value
            bucket[SQUARES] += value * value
        if value < bucket[LOW]:
            bucket[LOW_AT], bucket[LOW] = draw, value
        elif value > bucket[HIGH]:
            bucket[HIGH_AT], bucket[HIGH] = draw, value

    def _double(self) -> None:
        """Halve the number of buckets by joining neighbours."""
        self.width *= 2
        old = self._buckets
        self._buckets = [_joined(old[i], old[i + 1] if i + 1 < len(old) else None) for i in range(0, len(old), 2)]

    def extremes(self, start: int, stop: int, columns: int) -> list[tuple[int, float]]:
        """At most `2 * columns` points of the draws in [start, stop): the lowest and highest of each column, in order."""
        points: list[tuple[int, float]] = []
        for group in self._columns(start, stop, columns):
            low = min(group, key=lambda b: b[LOW])
            high = max(group, key=lambda b: b[HIGH])
            pair = sorted({(int(low[LOW_AT]), low[LOW]), (int(high[HIGH_AT]), high[HIGH])})
            points.extend(pair)
        return points

    def means(self, start: int, stop: int, columns: int) -> list[tuple[int, float]]:
        """At most `columns` points of the draws in [start, stop): the mean of each column at its middle draw."""
        return [
            (int(group[0][FIRST] + group[-1][LAST]) // 2, sum(b[SUM] for b in group) / sum(b[COUNT] for b in group))
            for group in self._columns(start, stop, columns)
        ]

    def at(self, draw: int) -> float | None:
        """The value at `draw`, or the mean of the bucket it fell into; None where there is none."""
        index = draw // self.width
        bucket = self._buckets[index] if 0 <= index < len(self._buckets) else None
        return bucket[SUM] / bucket[COUNT] if bucket else None

    def moments(self, start: int, stop: int) -> Moments:
        """Of the buckets that begin in [start, stop)."""
        inside = [b for b in self._buckets if b and start <= b[FIRST] < stop]
        count = int(sum(b[COUNT] for b in inside))
        if not count:
            return Moments(0, math.nan, math.nan)
        mean = sum(b[SUM] for b in inside) / count
        return Moments(count, mean, max(0.0, sum(b[SQUARES] for b in inside) / count - mean * mean))

    def _columns(self, start: int, stop: int, columns: int) -> Sequence[list[Bucket]]:
        span = max(1, stop - start)
        groups: dict[int, list[Bucket]] = {}
        for bucket in self._buckets[max(0, start) // self.width :]:
            if bucket and start <= bucket[FIRST] < stop:
                groups.setdefault(int(bucket[FIRST] - start) * columns // span, []).append(bucket)
        return list(groups.values())


def _joined(left: Bucket | None, right: Bucket | None) -> Bucket | None:
    if left is None or right is None:
        return left or right
    low, high = min(left, right, key=lambda b: b[LOW]), max(left, right, key=lambda b: b[HIGH])
    count, total, squares = left[COUNT] + right[COUNT], left[SUM] + right[SUM], left[SQUARES] + right[SQUARES]
    return [left[FIRST], right[LAST], count, total, squares, low[LOW_AT], low[LOW], high[HIGH_AT], high[HIGH]]
