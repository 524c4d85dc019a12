"""What is said of the reach of pairs (see `reach`), in warnings, result.json and reports. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..numbers import short
from ..results.reach import Reach
from ..uncertainty import Uncertainty

LOWER_IS_BETTER = ("kl", "rank")
LEVEL = 0.01
"""p from which a reach counts as clear: words that a model gives as answers elsewhere move more than most of its vocabulary does."""
SHOWN = 20
"""Pairs in a report's table and numbers of pairs in a sentence, at most."""


@dataclass(frozen=True)
class Reaches:
    """The metric at both ends of each pair; `p` of the mean reach and of each pair's own, None where unrelated answers were not tried."""

    metric: str
    clean: tuple[float, ...]
    corrupt: tuple[float, ...]
    other: str = "on corrupt ones"
    """What the corrupt end is, in messages: "… on clean prompts and … on corrupt ones"."""
    unrelated: float | None = None
    """Mean size of the reach of unrelated answers."""
    p: float | None = None
    pair_p: tuple[float, ...] | None = None

    @property
    def each(self) -> list[float]:
        """By pair: how far the metric goes in the direction of the answer."""
        sign = -1.0 if self.metric in LOWER_IS_BETTER else 1.0
        return [sign * (a - b) for a, b in zip(self.clean, self.corrupt, strict=True)]

    @property
    def mean(self) -> float:
        """Mean over pairs of how far the metric goes, in its units."""
        return float(np.mean(self.each))

    @property
    def clear(self) -> bool | None:
        """Whether the mean reach is in the direction of the answers and clear of unrelated ones; None where that was not tested."""
        return None if self.p is None else self.mean > 0 and self.p <= LEVEL

    @property
    def opposed(self) -> list[int]:
        """The pairs that go against their mean."""
        return [pair for pair, reach in enumerate(self.each) if reach * self.mean < 0]

    @property
    def unclear(self) -> list[int]:
        """The pairs that go with their mean but are not clear of unrelated answers by themselves."""
        if self.pair_p is None:
            return []
        return [pair for pair, p in enumerate(self.pair_p) if p > LEVEL and pair not in self.opposed]

    @property
    def std_error(self) -> float | None:
        """Of the mean, over pairs."""
        return float(np.std(self.each, ddof=1) / math.sqrt(len(self.each))) if len(self.each) > 1 else None

    def stated(self) -> Reach:
        """For result.json; pairs are counted from 1, as everywhere in messages."""
        return Reach(
            mean=self.mean,
            unrelated=self.unrelated,
            p=self.p,
            clear=self.clear,
            clean=self.clean,
            corrupt=self.corrupt,
            opposed=tuple(pair + 1 for pair in self.opposed),
            unclear=tuple(pair + 1 for pair in self.unclear),
        )

    def uncertainty(self) -> Uncertainty:
        """The mean reach's error bar and control."""
        error = self.std_error
        return Uncertainty(
            over=f"{len(self.each)} pairs" if error is not None else "",
            std_error=error,
            control=self.unrelated,
            clear=self.clear,
            note="" if error is not None else "one pair",
        )


def warnings(reaches: Reaches) -> list[str]:
    """What is wrong with the pairs as a question, in sentences; none where nothing is."""
    metric, count = reaches.metric, len(reaches.each)
    clean, corrupt = float(np.mean(reaches.clean)), float(np.mean(reaches.corrupt))
    ends = f"{metric} is {short(clean, 4)} on clean prompts and {short(corrupt, 4)} {reaches.other}" + (
        f", over {count} pairs" if count > 1 else ""
    )
    sentences = []
    if reaches.mean < 0:
        swapped = "are answer and counterfactual swapped?" if metric == "logit_diff" else "does the model know the answer?"
        sentences.append(f"{ends}: the clean prompt makes the answer less likely, not more; {swapped}")
    elif reaches.clear is False:
        sentences.append(
            f"{ends}, a difference of {short(reaches.mean)} that unrelated answers reach too ({short(reaches.unrelated)} on average, "
            f"p = {reaches.p:.2g}): the model does not tell these prompts apart by these answers, and shares of it say nothing"
        )
    if reaches.mean >= 0 and reaches.opposed:
        sentences.append(f"{_pairs(reaches.opposed, count)} the other way: {_ends(reaches, reaches.opposed)}")
    if count > 1 and reaches.clear and reaches.unclear:
        verb = "is" if len(reaches.unclear) == 1 else "are"
        sentences.append(f"{_numbers(reaches.unclear)} of {count} {verb} not clear of unrelated answers: {_ends(reaches, reaches.unclear)}")
    return sentences


def verdict(reaches: Reaches) -> str | None:
    """A few words for a headline, where the pairs are no question."""
    if reaches.mean < 0:
        return "the metric runs the wrong way"
    return "not clear of unrelated answers" if reaches.clear is False else None


def lines(reaches: Reaches) -> list[str]:
    """A report's lines: both ends of the metric, its control, warnings, and the pairs one by one."""
    clean, corrupt = float(np.mean(reaches.clean)), float(np.mean(reaches.corrupt))
    control = ""
    if reaches.p is not None:
        control = f"; unrelated answers differ by {short(reaches.unrelated)} on average (p = {reaches.p:.2g})"
    rows = [f"{reaches.metric}: **{short(clean, 4)}** at the clean end, **{short(corrupt, 4)}** at the corrupt end{control}."]
    rows += (
        ["", *(f"**Warning: {text.removesuffix('?')}{'?' if text.endswith('?') else '.'}**" for text in warnings(reaches))]
        if warnings(reaches)
        else []
    )
    if len(reaches.each) == 1:
        return rows
    order = sorted(range(len(reaches.each)), key=lambda pair: reaches.each[pair])[:SHOWN]
    weakest = f"the weakest {SHOWN} of {len(reaches.each)}" if len(reaches.each) > SHOWN else "weakest first"
    rows += ["", f"By pair, {weakest}:", "", "| pair | clean | corrupt | p of unrelated answers |", "|---:|---:|---:|---:|"]
    for pair in order:
        p = "" if reaches.pair_p is None else f"{reaches.pair_p[pair]:.2g}"
        rows.append(f"| {pair + 1} | {short(reaches.clean[pair], 4)} | {short(reaches.corrupt[pair], 4)} | {p} |")
    return rows


def _pairs(pairs: Sequence[int], count: int) -> str:
    return f"{_numbers(pairs)} of {count} {'goes' if len(pairs) == 1 else 'go'}"


def _numbers(pairs: Sequence[int]) -> str:
    """'pairs 2, 5' as they are counted in the file, from 1."""
    named = ", ".join(str(pair + 1) for pair in pairs[:SHOWN]) + (f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")
    return f"pair {named}" if len(pairs) == 1 else f"pairs {named}"


def _ends(reaches: Reaches, pairs: Sequence[int]) -> str:
    """Both ends of a few pairs."""
    few = ", ".join(f"{short(reaches.clean[pair])} against {short(reaches.corrupt[pair])}" for pair in pairs[:3])
    return few + (" …" if len(pairs) > 3 else "")
