"""Whether chains have mixed, in words. Headless."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .traces import DrawSeries, Moments

Tone = Literal["good", "warn", "bad", "muted"]

FEW_DRAWS = 20
RHAT_BAD, RHAT_GOOD = 1.1, 1.05
ESS_FEW = 50
DRIFT_SHARE, DRIFT_SIGMAS = 0.05, 2.0


@dataclass(frozen=True)
class Drift:
    """How far the mean loss of the second half of the draws lies from that of the first, in units of `mean - init_loss`.

    The estimate is proportional to `mean - init_loss`, so this is the share by which it is still moving. `sigmas` is the same difference in
    standard errors, taking the draws to be worth `ess` independent ones.
    """

    share: float
    sigmas: float

    @property
    def clear(self) -> bool:
        return abs(self.share) > DRIFT_SHARE and abs(self.sigmas) > DRIFT_SIGMAS


def drift(traces: Iterable[DrawSeries], burnin: int, init_loss: float | None, ess: float | None) -> Drift | None:
    """The drift of the chains' losses since burn-in; None where there are too few draws, or no initial loss to compare with."""
    traces = list(traces)
    last = max((trace.last for trace in traces), default=-1) + 1
    if init_loss is None or last - burnin < FEW_DRAWS:
        return None
    middle = (burnin + last) // 2
    early = _pooled([trace.moments(burnin, middle) for trace in traces])
    late = _pooled([trace.moments(middle, last) for trace in traces])
    if not early.count or not late.count:
        return None
    rise = (early.mean + late.mean) / 2 - init_loss
    change = late.mean - early.mean
    # each half is worth half of the independent draws; without an ESS the plainest guess is a tenth of the draws
    worth = max(2.0, ess if ess is not None else (early.count + late.count) / 10) / 2
    error = math.sqrt((early.variance + late.variance) / worth)
    share = change / abs(rise) if rise else math.inf if change else 0.0
    return Drift(share, change / error if error else math.inf if change else 0.0)


def _pooled(parts: list[Moments]) -> Moments:
    parts = [part for part in parts if part.count]
    count = sum(part.count for part in parts)
    if not count:
        return Moments(0, math.nan, math.nan)
    mean = sum(part.count * part.mean for part in parts) / count
    # chains that sit apart are R-hat's concern: the variance here is the one within chains
    return Moments(count, mean, sum(part.count * part.variance for part in parts) / count)


def verdict(*, draws: int, rhat: float | None, ess: float | None, moving: Drift | None) -> tuple[str, Tone]:
    """One phrase on how far to trust the estimate, and its tone. The first rule that holds speaks:

    1. fewer than 20 draws a chain: too early to say;
    2. the mean loss of the second half differs from the first by over 5 % of its rise above the initial loss, and by over 2 standard
       errors: still drifting;
    3. R̂ above 1.1: not mixed yet (the chains disagree, or each disagrees with its own past);
    4. fewer than 50 independent draws: too few of them for an error bar to mean much;
    5. R̂ above 1.05: nearly mixed;
    6. mixing well. Where neither R̂ nor ESS is known there is no diagnosis.
    """
    if draws == 0:
        return "no draws yet", "muted"
    if draws < FEW_DRAWS:
        return f"too early to say: {draws} {'draw' if draws == 1 else 'draws'}", "muted"
    if moving is not None and moving.clear:
        return f"still drifting: {moving.share:+.1%}".replace("%", " %"), "warn"
    if rhat is not None and rhat > RHAT_BAD:
        return f"not mixed yet: R̂ {rhat:.2g}" if rhat >= 10 else f"not mixed yet: R̂ {rhat:.2f}", "warn"
    if ess is not None and ess < ESS_FEW:
        return f"few independent draws: ESS {ess:.0f}", "warn"
    if rhat is None and ess is None:
        return "no diagnosis yet", "muted"
    if rhat is not None and rhat > RHAT_GOOD:
        return f"nearly mixed: R̂ {rhat:.2f}", "warn"
    return "mixing well", "good"
