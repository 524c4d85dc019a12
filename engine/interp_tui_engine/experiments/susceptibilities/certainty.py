"""How sure the responses of a susceptibilities run are: controls, what is clear of them, error bars and why there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...estimators.autocorrelation import MeanEstimate
from ...estimators.susceptibilities import PerToken
from ...estimators.susceptibility_controls import Control
from ...results.susceptibilities import ShuffledControl, SusceptibilitiesResult
from ...uncertainty import Uncertainty
from .checks import CheckedParts
from .responses import MEANS, Responses

ByQuantity = dict[str, dict[str, dict[str, bool | None]]]
"""By quantity, part and data."""


def exact_of(checks: CheckedParts | None, shown: list[str]) -> dict[str, PerToken] | None:
    """A part's first order of every token, by observable."""
    chi_by_data = None if checks is None or checks.first_order is None else {obs: checks.first_order.chi(obs) for obs in shown}
    return None if chi_by_data is None else {obs: chi for obs, chi in chi_by_data.items() if chi is not None} or None


def controls_of(
    checked: Mapping[str, CheckedParts], names: Mapping[str, str], shown: list[str], quantity: str
) -> dict[str, dict[str, ShuffledControl | None]]:
    """What as many rows of all data, drawn at random, respond by: mean and 95 % interval, by part and data set."""
    by_part: dict[str, dict[str, ShuffledControl | None]] = {}
    for part, part_checks in checked.items():
        controls: Mapping[str, Control | None] = part_checks.controls.get(quantity, {})
        by_part[part] = {names[obs]: _stated(controls.get(obs)) for obs in shown}
    return by_part


def _stated(control: Control | None) -> ShuffledControl | None:
    return None if control is None else ShuffledControl(mean=control.mean, low=control.low, high=control.high)


def clear_of(responses: Responses, checked: Mapping[str, CheckedParts], names: Mapping[str, str]) -> ByQuantity:
    """Whether a mean is clear of its control: outside the interval of shuffled rows, whose mean is outside its own error bar.

    None where there is no control or no error bar, and for the sampling data's own, which is 0.
    """
    assert responses.base is not None
    clear_by_quantity: ByQuantity = {"covariance": {}, "shift": {}, "first_order": {}}
    for part, part_checks in checked.items():
        for quantity, rows in clear_by_quantity.items():
            rows[part] = {}
            for obs in responses.shown:
                control = part_checks.controls.get(quantity, {}).get(obs)
                if control is None or obs == responses.base.sampling:
                    rows[part][names[obs]] = None
                elif quantity == "first_order":
                    exact = exact_of(part_checks, [obs])
                    rows[part][names[obs]] = None if exact is None else control.excludes(float(exact[obs].mean()))
                else:
                    estimate = responses.estimates(responses.by_part[part], quantity)[names[obs]]
                    rows[part][names[obs]] = _outside(estimate, control)
    return clear_by_quantity


def _outside(estimate: MeanEstimate | None, control: Control) -> bool | None:
    interval = None if estimate is None else estimate.interval()
    if estimate is None or interval is None:
        return None
    return control.excludes(estimate.value) and not interval[0] <= control.mean <= interval[1]


def reasons_of(responses: Responses) -> dict[str, dict[str, str]]:
    """Where there is no error bar, why: by part and data set."""
    reasons: dict[str, dict[str, str]] = {}
    for part, answer in responses.by_part.items():
        why = {name: e.why for table in MEANS for name, e in responses.estimates(answer, table).items() if e is not None and e.why}
        if why:
            reasons[part] = why
    return reasons


def uncertainties(responses: Responses, values: SusceptibilitiesResult) -> dict[str, Uncertainty]:
    """Of every mean: `covariance.l0h1.code`."""
    bars = {}
    for part, answer in responses.by_part.items():
        chains = len(answer.healthy_chains)
        for table in MEANS:
            for data, estimate in responses.estimates(answer, table).items():
                if estimate is None or math.isinf(estimate.ess):
                    continue
                low, high = estimate.interval() or (None, None)
                over = f"{chains} {'chain' if chains == 1 else 'chains'}, {estimate.ess:.0f} effective draws"
                shuffled = values.control.get(table, {}).get(part, {}).get(data)
                control = None if shuffled is None else shuffled.mean
                clear = values.clear.get(table, {}).get(part, {}).get(data)
                bars[f"{table}.{part}.{data}"] = Uncertainty(
                    over, estimate.std_error, low, high, control=control, clear=clear, note=estimate.why
                )
    return bars
