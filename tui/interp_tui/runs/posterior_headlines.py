"""Headlines of runs that sample: an estimate with its error, and what speaks against it. Headless."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interp_tui_engine import uncertainty
from interp_tui_engine.payload import read

from ..text.numbers import number, with_error
from ..text.sanitise import clean
from .headline_parts import GAP, Values, percent, word
from .mixing_diagnosis import FEW_DRAWS, verdict

if TYPE_CHECKING:
    from interp_tui_engine.results.sampling import SamplingHeadline


def llc(values: Values) -> str:
    """λ̂ with its error, and what speaks against it, else R̂."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    if found.llc_mean is None:
        return ""
    parts = [f"λ̂ {_with_spread(found)}"]
    bar = found.uncertainty.get("llc_mean")
    if (doubt := llc_doubt(values)) != "":
        parts.append(doubt)
    elif bar is not None and bar.clear is False:
        parts.append(f"no clearer than noise alone{'' if bar.control is None else f': {number(bar.control, 3)}'}")
    elif found.rhat is not None:
        parts.append(f"R̂ {number(found.rhat, 3)}")
    return GAP.join(parts)


def development(values: Values) -> str:
    """As `llc`, and how many facts the model knows."""
    from interp_tui_engine.results.development import DevelopmentHeadline

    accuracy = read(DevelopmentHeadline, values).fact_accuracy
    return GAP.join(part for part in [llc(values), *([f"facts {percent(accuracy)}"] if accuracy is not None else [])] if part)


def _with_spread(found: SamplingHeadline) -> str:
    """λ̂ with its standard error; where there is none, with how far chains spread."""
    mean, bar = found.llc_mean, found.uncertainty.get("llc_mean")
    assert mean is not None
    if bar is not None:
        return clean(uncertainty.describe(mean, replace(bar, clear=None)), limit=80)
    if found.llc_std_error is None and found.llc_std is not None:
        return f"{number(mean, 3)}, chains spread by {number(found.llc_std, 2)}"
    return with_error(mean, found.llc_std_error)


def llc_doubt(values: Values) -> str:
    """Why an estimate of the LLC is not to be trusted as it stands; empty where nothing speaks against it."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    mean, error = found.llc_mean, found.llc_std_error
    if mean is not None and mean < 0 and (error is None or mean < -2 * error):
        return "below 0: the weights are no minimum"
    return _unmixed(found)


def _unmixed(found: SamplingHeadline) -> str:
    if found.rhat is None and found.ess is None:
        return ""
    said, tone = verdict(draws=FEW_DRAWS, rhat=found.rhat, ess=found.ess, moving=None)
    return "" if tone == "good" else said


def sample(values: Values) -> str:
    """How well the chains mixed."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    parts = [f"loss {number(found.loss_mean)}"] if found.loss_mean is not None else []
    doubt = _unmixed(found)
    return GAP.join([*parts, *([doubt] if doubt else [f"R̂ {number(found.rhat, 3)}"] if found.rhat is not None else [])])


def susceptibilities(values: Values) -> str:
    """The strongest response, and whose it is."""
    from interp_tui_engine.results.susceptibilities import SusceptibilitiesHeadline

    found = read(SusceptibilitiesHeadline, values)
    ranked = (
        ("covariance", found.covariance_mean, found.covariance_std_error),
        ("first order", found.first_order_mean, found.first_order_std_error),
        ("χ", found.mean_mean, found.mean_std_error),
    )
    sign, value, error = next((each for each in ranked if each[1] is not None), ("", None, None))
    if value is None or not found.strongest:
        return ""
    parts = f"  strongest of {number(found.parts)} parts" if (found.parts or 0) > 1 else ""
    return f"{word(found.strongest)}: {sign} {with_error(value, error)}{parts}"


def bif(values: Values) -> str:
    """The strongest influence."""
    from interp_tui_engine.results.bif import BIFHeadline

    found = read(BIFHeadline, values)
    if found.influence_mean is None or not found.strongest:
        return llc(values)  # while its chains run
    how = "moves with" if found.influence_mean > 0 else "moves against"
    pair = word(found.strongest).replace(" with ", f" {how} ")
    parts = [f"{pair}: influence {with_error(found.influence_mean, found.influence_std_error)}"]
    return GAP.join([*parts, *([f"{number(found.clear)} pairs clear of chance"] if found.clear is not None else [])])


def certify(values: Values) -> str:
    """How many cases passed."""
    from interp_tui_engine.results.certify import CertifyHeadline

    found = read(CertifyHeadline, values)
    return f"{number(found.passed)} of {number(found.cases)} known answers met" if found.passed is not None else ""


def calibrate(values: Values) -> str:
    """The setting that was chosen, or why none was."""
    from interp_tui_engine.results.calibrate import CalibrateHeadline

    found = read(CalibrateHeadline, values)
    if found.settings is None:
        return ""
    said = f"{number(found.usable)} of {number(found.settings)} settings usable"
    return said if found.lr is None else f"lr {number(found.lr, 2)}, nβ {number(found.n_beta, 3)}; {said}"
