"""How many parts of a search are tried at once, as if none of them stayed.

Most parts go, so row k of a batch leaves out the first k parts of it; the rows up to the first part that stays are what trying one after
another gives, and the next batch begins after it. Where many parts stayed of late, batches are short, since the rows beyond would be for
nothing. Batches begin and end where the decisions so far say, never where a run happened to be interrupted: a resumed search sees the same
numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

RECENT = 32
"""Decisions from which the next batch's length follows."""
REACH = 1.5
"""Length of a batch in mean distances between parts that stay."""


def batch_of(at: int, low: int, high: int, stayed: Sequence[bool], most: int) -> tuple[int, int]:
    """Where the batch of part `at` begins and ends in [low, high): after every part that stayed and every batch in which none did.

    stayed: the decisions on the parts before `at`. most: parts of a batch, which is at least two wherever there are two.
    """
    begin = low
    while True:
        end = min(high, begin + _length(begin, stayed, most))
        stays = next((i for i in range(begin, min(end, at)) if stayed[i]), None)
        if stays is None and at < end:
            return begin, end
        begin = end if stays is None else stays + 1


def _length(begin: int, stayed: Sequence[bool], most: int) -> int:
    recent = stayed[max(0, begin - RECENT) : begin]
    rate = (1 + sum(recent)) / (2 + len(recent))
    return max(2, min(most, round(REACH / rate)))
