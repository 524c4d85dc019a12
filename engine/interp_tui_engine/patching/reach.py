"""Whether pairs of prompts ask for their answers: how far the metric is from its corrupt end to its clean one, beside unrelated answers.

    reach = m(clean) − m(corrupt), its sign turned where a lower m is better (kl, rank)

Every effect of patching is a share of it: where the model does not tell the two prompts apart by these answers, shares of it are ratios of
accidents. The control replaces each answer token by one drawn from the vocabulary, the same in every pair and on both sides, `DRAWS` times:
p is the share of draws whose mean reach is at least that of the answers given (the draw at hand counted). An answer that has nothing to do
with the prompts is such a draw itself, and is called clear in 1 % of cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..sites.answers import Answer, metric_of
from .reach_report import LOWER_IS_BETTER, Reaches

DRAWS, LEAST_DRAWS = 999, 99
DRAWN_TOKENS = 4_000_000
"""Bound on draws × distinct answer tokens."""
TESTED = ("logit_diff", "logit", "prob", "logprob", "rank")
"""Metrics of an answer: KL asks for none."""


@dataclass(frozen=True)
class Ends:
    """A pair's next-token logits with everything as in the clean run, and with everything corrupt (averaged over noise samples, if any)."""

    clean: Float[Tensor, " vocab"]
    corrupt: Float[Tensor, "samples vocab"]


@torch.no_grad()
def reaches_of(metric: str, answers: Sequence[Answer], ends: Iterable[Ends], seed: int, other: str = "on corrupt ones") -> Reaches:
    """Both ends of the metric for each pair, and how they stand beside those of unrelated answers.

    other: what the corrupt end is, in messages. Ranks are compared by the logarithm of their place: the way to the top counts, not the much
    longer one about the middle.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    place = {token: i for i, token in enumerate(dict.fromkeys(t for answer in answers for t in (*answer.right, *answer.wrong)))}
    clean, corrupt, tested, pair_p = [], [], [], []
    draws: Int[Tensor, "draws tokens"] | None = None
    totals = torch.zeros(2, 0)
    for answer, end in zip(answers, ends, strict=True):
        score = metric_of(metric, answer, end.clean)
        clean.append(float(score(end.clean[None])[0]))
        corrupt.append(float(score(end.corrupt).mean()))
        if metric not in TESTED:
            continue
        if draws is None:
            draws = _drawn(list(place), end.clean.shape[-1], seed)
            totals = torch.zeros(2, len(draws), dtype=torch.float64)
        sets = [draws[:, [place[token] for token in tokens]] for tokens in (answer.right, answer.wrong)]
        own = [torch.tensor([tokens], dtype=torch.long) for tokens in (answer.right, answer.wrong)]
        unrelated = _reach(metric, end, *sets)
        as_tested = sign * _reach(metric, end, *sets, tested=True)
        tested.append(sign * _reach(metric, end, *own, tested=True)[0])
        pair_p.append(_p(tested[-1], as_tested))
        totals += torch.stack([unrelated, as_tested])
    if draws is None:
        return Reaches(metric, tuple(clean), tuple(corrupt), other)
    means = totals / len(clean)
    p = _p(torch.stack(tested).mean(), means[1])
    return Reaches(metric, tuple(clean), tuple(corrupt), other, float(means[0].abs().mean()), p, tuple(pair_p))


def _p(value: Tensor, control: Tensor) -> float:
    return (1 + int((control >= value).sum())) / (1 + len(control))


def _drawn(given: Sequence[int], vocab: int, seed: int) -> Int[Tensor, "draws tokens"]:
    """Tokens in place of those given, drawn from the others; from all where hardly any others are left."""
    other = torch.ones(vocab, dtype=torch.bool)
    other[list(given)] = False
    pool = other.nonzero()[:, 0] if int(other.sum()) >= max(100, vocab // 10) else torch.arange(vocab)
    count = min(DRAWS, max(LEAST_DRAWS, DRAWN_TOKENS // len(given)))
    return pool[torch.randint(0, len(pool), (count, len(given)), generator=torch.Generator().manual_seed(seed))]


def _reach(metric: str, end: Ends, right: Tensor, wrong: Tensor, *, tested: bool = False) -> Float[Tensor, " draws"]:
    """The metric at the clean end less that at the corrupt one, for many answers; ranks as log(1 + rank) where they are `tested`."""

    def at(logits: Tensor) -> Tensor:
        values = _scores(metric, logits, right, wrong)
        return values.log1p() if tested and metric == "rank" else values

    return at(end.clean) - torch.stack([at(sample) for sample in end.corrupt]).mean(0)


def _scores(metric: str, logits: Float[Tensor, " vocab"], right: Int[Tensor, "draws k"], wrong: Int[Tensor, "draws k"]) -> Tensor:
    """The metric of one row of logits for many answers, in float64: (draws,)."""
    logits = logits.double().cpu()
    if metric == "rank":
        ordered = logits.sort().values
        return (len(ordered) - torch.searchsorted(ordered, logits[right].amax(-1), right=True)).double()
    chosen = logits[right].logsumexp(-1)
    if metric == "logit":
        return chosen
    if metric == "logit_diff":
        return chosen - logits[wrong].logsumexp(-1)
    logprob = chosen - logits.logsumexp(-1)
    return logprob.exp() if metric == "prob" else logprob
