"""Which step size and temperature to sample with: what each setting of a grid showed, and which of them to trust.

A setting is usable when its chains stay finite, agree with each other (split R-hat at most 1.1; Vehtari et al. 2021, arXiv 1903.08008),
no longer drift, tell lambda from 0, stay below the loss of uniform guessing, give the lambda of smaller steps, and are held by the loss: at
n_beta = 0, with the same step size and localization, nothing but noise moves them, and if the loss rises nearly as much under n_beta as it
does there, the samples tell of the noise and of the localization, not of the loss.
Losses in nats per token; lambda is dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from . import temperature_scan

MOST_RHAT = 1.1
MOST_OF_CONTROL = 0.5
"""Of the rise at n_beta = 0: above it, the loss is not what holds the chains."""
_TOO_LARGE = "lr is too large"
DRIFT_ERRORS = 3.0
DRIFT_SHARE = 0.1
LEAST_ERRORS = 2.0
"""Standard errors that λ̂ must lie above 0 to say anything."""
STEP_ERRORS = 2.0
STEP_SHARE = 0.15
"""Of λ̂ at the smallest step size: what a larger one may add to it."""


@dataclass(frozen=True)
class Setting:
    """One cell of the grid. A control has n_beta = 0."""

    lr: float
    n_beta: float
    localization: float


@dataclass(frozen=True)
class Shown:
    """What sampling with a setting showed. rise: mean loss after burn-in less that at w0, on the same rows; None where it cannot be said.

    drift: the second half's mean rise less the first's; drift_error: its standard error. loss: the mean loss itself; uniform: that of
    guessing each token alike, log of their number.
    """

    setting: Setting
    rise: float | None = None
    llc: float | None = None
    llc_error: float | None = None
    rhat: float | None = None
    ess: float | None = None
    acceptance: float | None = None
    drift: float | None = None
    drift_error: float | None = None
    failed: int = 0
    chains: int = 0
    acceptance_error: float | None = None
    loss: float | None = None
    uniform: float | None = None


@dataclass(frozen=True)
class Judged:
    """A setting with what speaks against it; none of it means usable."""

    shown: Shown
    against: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing speaks against the setting."""
        return not self.against


@dataclass(frozen=True)
class Verdict:
    """The setting to use, or the nearest to one, and why."""

    chosen: Judged | None
    usable: bool
    text: str
    reasons: tuple[str, ...]


def drift_of(trace: Float[NDArray[np.float64], "chain draw"]) -> tuple[float | None, float | None]:
    """How much the mean loss moved from the first half of the draws to the second, and the standard error of that; None where undefined.

    The error is the larger of two: the spread between chains, and what the chains' mean varies by from draw to draw within a half. Chains
    that see the same batches move together with them, which no spread between chains can show.
    """
    chains, draws = trace.shape
    half = draws // 2
    if not chains or not half or not np.isfinite(trace).all():
        return None, None
    first, second = trace[:, :half], trace[:, half : 2 * half]
    moved = second.mean(1) - first.mean(1)
    errors = [float(moved.std(ddof=1)) / math.sqrt(chains)] if chains > 1 else []
    if half > 1:
        errors.append(math.sqrt(sum(float(part.mean(0).var(ddof=1)) for part in (first, second)) / half))
    return float(moved.mean()), max(errors, default=None)


def judge(shown: Shown, control: Shown | None, finer: Shown | None = None) -> Judged:
    """What speaks against a setting. control: the same step size and localization at n_beta = 0; finer: the same with smaller steps."""
    against = []
    if shown.failed:
        against.append(f"{shown.failed} of {shown.chains} chains went non-finite: {_TOO_LARGE}")
    if shown.rise is None:
        return Judged(shown, tuple(against or ["it gave no estimate"]))
    if shown.rise <= 0:
        against.append("the loss fell below that at w₀: w₀ is no minimum of it, and λ̂ is negative")
    elif shown.llc is not None and shown.llc_error is not None and shown.llc < LEAST_ERRORS * shown.llc_error:
        against.append(f"λ̂ {shown.llc:.2g} ± {shown.llc_error:.2g} is not clear of 0: take more chains or draws")
    if shown.loss is not None and shown.uniform is not None and shown.loss > shown.uniform:
        against.append(f"the mean loss, {shown.loss:.3g} nats, is above that of uniform guessing, {shown.uniform:.3g}: {_TOO_LARGE}")
    if shown.rhat is None:
        against.append("R̂ is not defined: take more chains or draws")
    elif shown.rhat > MOST_RHAT:
        against.append(f"R̂ {shown.rhat:.2f}: the chains do not agree yet")
    if shown.drift is not None:
        allowed = max(DRIFT_ERRORS * (shown.drift_error or 0.0), DRIFT_SHARE * abs(shown.rise))
        if abs(shown.drift) > allowed:
            against.append(f"the loss still drifts, by {shown.drift:+.2g} nats from the first half to the second")
    if control is not None and control.rise is not None and control.rise > 0 and shown.rise > MOST_OF_CONTROL * control.rise:
        share = shown.rise / control.rise
        if share > 1:
            against.append(f"the loss rises {share:.1f} times as far as without its pull: {_TOO_LARGE} for this n_beta")
        else:
            against.append(f"the loss rises {share:.0%} as far as without any pull of the loss: noise and localization hold the chains")
    if finer is not None and shown.llc is not None and finer.llc is not None:
        allowed = max(STEP_ERRORS * math.hypot(shown.llc_error or 0.0, finer.llc_error or 0.0), STEP_SHARE * abs(finer.llc))
        if abs(shown.llc - finer.llc) > allowed:
            against.append(f"λ̂ {shown.llc:.3g} is {finer.llc:.3g} with steps of {finer.setting.lr:g}: {_TOO_LARGE}")
    return Judged(shown, tuple(against))


def control_of(shown: Shown, cells: Sequence[Shown]) -> Shown | None:
    """The cell that tells where noise and localization alone take this one."""
    at = (shown.setting.lr, shown.setting.localization)
    return next((c for c in cells if c.setting.n_beta == 0 and (c.setting.lr, c.setting.localization) == at), None)


def finer_of(shown: Shown, cells: Sequence[Shown]) -> Shown | None:
    """The same temperature and localization with the smallest step size, where that is smaller and nothing else speaks against it."""
    at = (shown.setting.n_beta, shown.setting.localization)
    smaller = [c for c in cells if (c.setting.n_beta, c.setting.localization) == at and c.setting.lr < shown.setting.lr]
    return min((c for c in smaller if judge(c, control_of(c, cells)).usable), key=lambda c: c.setting.lr, default=None)


def verdict(cells: Sequence[Shown]) -> tuple[Verdict, list[Judged]]:
    """The usable setting worth most independent draws, with its reasons; the nearest to usable if none is. Also each setting, judged."""
    controls = {(c.setting.lr, c.setting.localization): c for c in cells if c.setting.n_beta == 0}
    judged = [judge(c, control_of(c, cells), finer_of(c, cells)) for c in cells if c.setting.n_beta > 0]
    usable = sorted((j for j in judged if j.usable), key=lambda j: (-(j.shown.ess or 0.0), -j.shown.setting.lr))
    if usable:
        best = usable[0]
        return Verdict(best, True, f"use {described(best.shown.setting)}", _reasons(best, judged, controls)), judged
    if not judged:
        return Verdict(None, False, "nothing was tried", ()), judged
    nearest = min(judged, key=lambda j: (j.shown.failed, len(j.against), _hot(j), j.shown.rhat or math.inf))
    text = f"no setting is usable; nearest: {described(nearest.shown.setting)}"
    return Verdict(nearest, False, text, (*nearest.against, _advice(judged))), judged


def described(setting: Setting) -> str:
    """`lr 3e-4, n_beta 30, localization 1000`."""
    return f"lr {setting.lr:g}, n_beta {setting.n_beta:g}, localization {setting.localization:g}"


def _reasons(best: Judged, judged: Sequence[Judged], controls: dict[tuple[float, float], Shown]) -> tuple[str, ...]:
    shown, setting, usable = best.shown, best.shown.setting, [j for j in judged if j.usable]
    reasons = [
        f"R̂ {shown.rhat:.3f} over {shown.chains} chains, none failed",
        f"{shown.ess or 0:.0f} independent draws, the most of {len(usable)} usable settings"
        if len(usable) > 1
        else f"{shown.ess or 0:.0f} independent draws; no other setting is usable",
    ]
    control = controls.get((setting.lr, setting.localization))
    if control is not None and control.failed == control.chains and control.chains:
        reasons.append("without the loss's pull, every chain went non-finite: the loss holds them")
    elif control is not None and control.rise is not None and shown.rise is not None and control.rise > 0:
        reasons.append(f"the loss rises {shown.rise / control.rise:.0%} as far as at n_beta 0: the loss holds the chains")
    if shown.acceptance is not None:
        give_or_take = "" if shown.acceptance_error is None else f" ± {shown.acceptance_error:.0%}"
        reasons.append(f"a Metropolis test would accept {shown.acceptance:.0%}{give_or_take} of the steps")
    alike = [
        j
        for j in usable
        if j is not best and (j.shown.setting.n_beta, j.shown.setting.localization) == (setting.n_beta, setting.localization)
    ]
    for other in alike:
        if shown.llc is not None and other.shown.llc is not None:
            apart = abs(shown.llc - other.shown.llc)
            error = math.hypot(shown.llc_error or 0.0, other.shown.llc_error or 0.0)
            agrees = "agrees with" if apart <= 2 * error else "differs from"
            reasons.append(
                f"λ̂ {shown.llc:.3g} ± {shown.llc_error or 0:.2g} {agrees} {other.shown.llc:.3g} at lr {other.shown.setting.lr:g}"
            )
    return (*reasons, _over_temperatures(best, judged))


def _over_temperatures(best: Judged, judged: Sequence[Judged]) -> str:
    """Whether λ̂ levels off over n_beta, at the chosen step size and localization."""
    at = best.shown.setting
    alike = [j.shown for j in judged if (j.shown.setting.lr, j.shown.setting.localization) == (at.lr, at.localization)]
    scan = [temperature_scan.TemperaturePoint(s.setting.n_beta, s.llc, s.llc_error) for s in alike if s.llc is not None and not s.failed]
    return temperature_scan.verdict_on(scan, at.n_beta)


def _hot(judged: Judged) -> bool:
    """Whether its step size is too large: longer runs mend the rest, not that."""
    return any(_TOO_LARGE in reason for reason in judged.against)


def _advice(judged: Sequence[Judged]) -> str:
    said_all = " ".join(" ".join(j.against) for j in judged)
    if all(_hot(j) for j in judged):
        return "try smaller lr, or a larger localization"
    if all("noise and localization" in " ".join(j.against) for j in judged):
        return "try a larger n_beta, or a smaller localization"
    if "drifts" in said_all or "do not agree" in said_all:
        return "try more burn-in and more draws, or a smaller lr"
    return "widen the grid"
