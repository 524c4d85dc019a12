"""What next-token logits say about an answer. Every function takes logits (..., vocab) and works in float32, in nats.

An answer is a set of token ids, most often of one: its logit is the log of the summed exponentials, so that the difference of two sets'
logits is the log-odds of one against the other, as it is for two tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from ..models.device import sent

MetricName = Literal["logit_diff", "logit", "prob", "logprob", "kl", "rank"]
METRICS: tuple[str, ...] = get_args(MetricName)


@dataclass(frozen=True)
class Answer:
    """Which token ids count as right, and which as the alternative (empty where there is none)."""

    right: tuple[int, ...]
    wrong: tuple[int, ...] = ()


Metric = Callable[[Float[Tensor, "*rows vocab"]], Float[Tensor, "*rows"]]


def metric_of(name: str, answer: Answer, clean_logits: Float[Tensor, " vocab"]) -> Metric:
    """The metric of that name for an answer; `clean_logits` are what KL is measured from. Raises UserError for a name that is none."""
    match name:
        case "logit_diff":
            return lambda logits: logit_diff(logits, answer)
        case "logit":
            return lambda logits: set_logit(logits, answer.right)
        case "prob":
            return lambda logits: log_prob(logits, answer.right).exp()
        case "logprob":
            return lambda logits: log_prob(logits, answer.right)
        case "kl":
            return lambda logits: kl(clean_logits, logits)
        case "rank":
            return lambda logits: rank(logits, answer.right).float()
    guess = get_close_matches(name, METRICS, 1)
    raise UserError(f"there is no metric {name!r}", f"{f'did you mean {guess[0]!r}? ' if guess else ''}choose from {', '.join(METRICS)}")


FEW = 16
"""Tokens picked one by one: indices would be copied to a GPU first."""


def _of_tokens(logits: Float[Tensor, "*rows vocab"], tokens: Sequence[int]) -> Float[Tensor, "*rows tokens"]:
    if len(tokens) == 1:
        return logits[..., tokens[0], None]
    if 0 < len(tokens) <= FEW:
        return torch.stack([logits[..., token] for token in tokens], dim=-1)
    return logits[..., sent(tokens, logits.device).long()]


def set_logit(logits: Float[Tensor, "*rows vocab"], tokens: Sequence[int]) -> Float[Tensor, "*rows"]:
    """log Σ exp(logit) over the tokens of a set."""
    chosen = _of_tokens(logits, tokens).float()
    return chosen[..., 0] if len(tokens) == 1 else chosen.logsumexp(-1)


def logit_diff(logits: Float[Tensor, "*rows vocab"], answer: Answer) -> Float[Tensor, "*rows"]:
    """Logit of the right tokens less that of the wrong ones."""
    return set_logit(logits, answer.right) - set_logit(logits, answer.wrong)


def log_prob(logits: Float[Tensor, "*rows vocab"], tokens: Sequence[int]) -> Float[Tensor, "*rows"]:
    """log of the total probability of the tokens."""
    return set_logit(logits, tokens) - logits.float().logsumexp(-1)


def rank(logits: Float[Tensor, "*rows vocab"], tokens: Sequence[int]) -> Int[Tensor, "*rows"]:
    """How many tokens have a strictly greater logit than the best of the given ones; 0 is the top."""
    best = _of_tokens(logits, tokens).amax(-1, keepdim=True)
    return (logits > best).sum(-1)


def entropy(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """−Σ p log p of the distribution."""
    log_p = logits.float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def kl(reference: Float[Tensor, "*rows vocab"], logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """KL(reference ‖ logits) = Σ p_ref (log p_ref − log p): never negative but for rounding, which is cut off at 0."""
    log_p, log_q = reference.float().log_softmax(-1), logits.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_min(0.0)


def top_tokens(logits: Float[Tensor, "*rows vocab"], k: int) -> tuple[Float[Tensor, "*rows k"], Int[Tensor, "*rows k"]]:
    """Probabilities and ids of the k likeliest tokens, likeliest first."""
    values, ids = logits.float().softmax(-1).topk(min(k, logits.shape[-1]), dim=-1)
    assert isinstance(ids, torch.Tensor)
    return values, ids
