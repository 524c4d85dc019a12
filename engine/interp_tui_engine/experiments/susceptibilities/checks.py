"""What is known of a susceptibilities run besides the responses: first order, controls, whether samplings agree. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import RunFailed
from ...estimators.susceptibilities import PerToken, Response
from ...estimators.susceptibility_controls import Control, Halves, agreement, halves, of_full_length, shuffled, token_floor
from ...events import Event, Phase, Warned
from ...results.susceptibilities import Agreement
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...samplers.chains.store import open_samples
from .._sampling import config_of
from .._sampling import run as sampling_run
from .._sampling.first_order import FirstOrder, first_order, in_float32
from .._sampling.per_restriction import SampledParts, spelt_out, store_path

QUANTITIES = ("covariance", "shift", "first_order")


@dataclass(frozen=True)
class CheckedParts:
    """One part's. first_order: None where it could not be computed. floor: of a token's covariance, in standard errors; clear: how many
    tokens exceed it. controls: by quantity and observable."""

    first_order: FirstOrder | None
    halves: Halves
    floor: float
    errors: Mapping[str, PerToken]
    controls: Mapping[str, Mapping[str, Control | None]]

    @property
    def clear(self) -> int:
        return (
            sum(int((np.abs(errors_of_data) > self.floor).sum()) for errors_of_data in self.errors.values())
            if math.isfinite(self.floor)
            else 0
        )


def check_parts(
    context: Context, sampled: SampledParts, by_part: Mapping[str, Response], sampling: str, shown: Sequence[str]
) -> Generator[Event, None, dict[str, CheckedParts]]:
    """For every part that has a response. sampling: the sampling data's observable; shown: those to respond to."""
    manifest, config = context.manifest, config_of(context.manifest)
    model, prefixes = in_float32(sampled.model), sampling_run.prefixes_of(manifest)
    todo = spelt_out(manifest.params.restrictions, sampled.model)
    checked: dict[str, CheckedParts] = {}
    failed = ""
    for index, (name, response) in enumerate(by_part.items()):
        wait_while_paused(context)
        exact = None
        if not failed:
            yield Phase("first order", f"{name}, {index + 1} of {len(by_part)}")
            try:
                problem = sampling_run.problem_of(manifest, model, sampled.rows, todo[name], prefixes)
                exact = first_order(problem, config, sampling, list(response.per_token))
            except (RuntimeError, NotImplementedError) as error:  # what has no forward-mode rule, says torch in many ways
                failed = str(error).splitlines()[0][:200]
                yield Warned(f"first order is left out: this model has no forward-mode derivative ({failed})")
            except RunFailed as error:
                failed = error.reason
                yield Warned(f"first order is left out: {failed}")
        samples = open_samples(store_path(context, name)).dataset
        floor, errors = token_floor(samples, sampling, shown)
        quantities: dict[str, dict[str, PerToken]] = {
            "covariance": {obs: tokens.value for obs, tokens in response.covariance.items()},
            "shift": {obs: tokens.value for obs, tokens in response.shift.items()},
        }
        if exact is not None and exact.scatter is not None:
            quantities["first_order"] = {obs: chi for obs in response.per_token if (chi := exact.chi(obs)) is not None}
        controls = {quantity: shuffled(values) for quantity, values in quantities.items()}
        checked[name] = CheckedParts(exact, halves(samples, sampling, shown), floor, errors, controls)
    return checked


def agreements(by_part: Mapping[str, Response], checked: Mapping[str, CheckedParts], shown: Sequence[str]) -> dict[str, Agreement]:
    """For each part, over the tokens shown: how far two samplings agree, and how far this one agrees with the first order.

    halves: correlation of the covariances of both halves of the chains; seeds: of two runs of this size, by Spearman-Brown; others: of
    halves of different parts, on average. with_first_order, with_other_parts: of the covariance with the first order of its own part and
    of others. slope: of the covariance on its first order, 1 where they are the same. departure: mean square of their difference in
    standard errors, 1 where it is noise. noise_share: of the covariance's variance over tokens, what its errors make up.
    """
    kept: dict[str, dict[str, PerToken]] = {p: {obs: by_part[p].covariance[obs].value for obs in shown} for p in checked}
    exact = {p: _chi(own, shown) for p, own in checked.items()}
    agreed: dict[str, Agreement] = {}
    for part, own in checked.items():
        half = agreement(own.halves.first, own.halves.second)
        others = [agreement(own.halves.first, other.halves.second) for p, other in checked.items() if p != part]
        mine, chi = kept[part], exact[part]
        elsewhere = [agreement(mine, there) for p, there in exact.items() if p != part and there is not None]
        apart = _departure(by_part[part], chi, shown)
        agreed[part] = Agreement(
            halves=half,
            seeds=of_full_length(half),
            others=_mean(others),
            with_first_order=None if chi is None else agreement(mine, chi),
            with_other_parts=_mean(elsewhere),
            slope=apart.slope,
            departure=apart.mean_square,
            noise_share=apart.noise_share,
            clear_tokens=own.clear,
            floor=own.floor if math.isfinite(own.floor) else None,
            curvature=None if own.first_order is None else own.first_order.curvature,
        )
    return agreed


def _chi(checks: CheckedParts, shown: Sequence[str]) -> dict[str, PerToken] | None:
    exact = checks.first_order
    return None if exact is None or exact.scatter is None else {obs: exact.scatter * (exact.squared - exact.products[obs]) for obs in shown}


class _Departure(NamedTuple):
    """How a part's covariance lies to its first order: its slope on it, their mean square difference in standard errors, the noise."""

    slope: float | None
    mean_square: float | None
    noise_share: float | None


def _departure(response: Response, chi: Mapping[str, PerToken] | None, shown: Sequence[str]) -> _Departure:
    value = np.concatenate([response.covariance[obs].value.ravel() for obs in shown])
    errors = [response.covariance[obs].std_error for obs in shown]
    exact = None if chi is None else np.concatenate([chi[obs].ravel() for obs in shown])
    all_known = all(error is not None for error in errors)
    error = np.concatenate([e.ravel() for e in errors if e is not None]) if all_known else None
    noise = None if error is None or value.var() == 0 else float((error**2).mean() / value.var())
    slope = None if exact is None or exact.var() == 0 else float(np.cov(exact, value)[0, 1] / exact.var(ddof=1))
    where = None if error is None else error > 0
    apart = None if exact is None or error is None or where is None or not where.any() else (value - exact)[where] / error[where]
    return _Departure(slope, None if apart is None else float((apart**2).mean()), noise)


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return sum(kept) / len(kept) if kept else None
