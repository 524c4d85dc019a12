"""Headlines of runs that sample: an estimate with its error, and what speaks against it. Headless."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from interp_tui_engine import uncertainty

from ..text.numbers import number, with_error
from ..text.sanitise import clean
from .headline_parts import GAP, Values, percent, read, word
from .mixing_diagnosis import FEW_DRAWS, verdict

if TYPE_CHECKING:
    from interp_tui_engine.results.sampling import SamplingHeadline


def llc(values: Values) -> str:
    """λ̂ with its error, and what speaks against it, else R̂."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    headline = read(SamplingHeadline, values)
    if headline.llc_mean is None:
        return ""
    parts = [f"λ̂ {_with_spread(headline)}"]
    bar = headline.uncertainty.get("llc_mean")
    if (doubt := llc_doubt(values)) != "":
        parts.append(doubt)
    elif bar is not None and bar.clear is False:
        parts.append(f"no clearer than noise alone{'' if bar.control is None else f': {number(bar.control, 3)}'}")
    elif headline.rhat is not None:
        parts.append(f"R̂ {number(headline.rhat, 3)}")
    return GAP.join(parts)


def development(values: Values) -> str:
    """As `llc`, and how many facts the model knows."""
    from interp_tui_engine.results.development import DevelopmentHeadline

    accuracy = read(DevelopmentHeadline, values).fact_accuracy
    return GAP.join(part for part in [llc(values), *([f"facts {percent(accuracy)}"] if accuracy is not None else [])] if part)


def _with_spread(headline: SamplingHeadline) -> str:
    """λ̂ with its standard error; where there is none, with how far chains spread."""
    mean, bar = headline.llc_mean, headline.uncertainty.get("llc_mean")
    assert mean is not None
    if bar is not None:
        return clean(uncertainty.describe(mean, replace(bar, clear=None)), limit=80)
    if headline.llc_std_error is None and headline.llc_std is not None:
        return f"{number(mean, 3)}, chains spread by {number(headline.llc_std, 2)}"
    return with_error(mean, headline.llc_std_error)


def llc_doubt(values: Values) -> str:
    """Why an estimate of the LLC is not to be trusted as it stands; empty where nothing speaks against it."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    headline = read(SamplingHeadline, values)
    mean, error = headline.llc_mean, headline.llc_std_error
    if mean is not None and mean < 0 and (error is None or mean < -2 * error):
        return "below 0: the weights are no minimum"
    return _unmixed(headline)


def _unmixed(headline: SamplingHeadline) -> str:
    if headline.rhat is None and headline.ess is None:
        return ""
    sentence, tone = verdict(draws=FEW_DRAWS, rhat=headline.rhat, ess=headline.ess, moving=None)
    return "" if tone == "good" else sentence


def sample(values: Values) -> str:
    """How well the chains mixed."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    headline = read(SamplingHeadline, values)
    parts = [f"loss {number(headline.loss_mean)}"] if headline.loss_mean is not None else []
    doubt = _unmixed(headline)
    return GAP.join([*parts, *([doubt] if doubt else [f"R̂ {number(headline.rhat, 3)}"] if headline.rhat is not None else [])])


def susceptibilities(values: Values) -> str:
    """The strongest response, and whose it is."""
    from interp_tui_engine.results.susceptibilities import SusceptibilitiesHeadline

    headline = read(SusceptibilitiesHeadline, values)
    ranked = (
        ("covariance", headline.covariance_mean, headline.covariance_std_error),
        ("first order", headline.first_order_mean, headline.first_order_std_error),
        ("χ", headline.mean_mean, headline.mean_std_error),
    )
    sign, value, error = next((each for each in ranked if each[1] is not None), ("", None, None))
    if value is None or not headline.strongest:
        return ""
    parts = f"  strongest of {number(headline.parts)} parts" if (headline.parts or 0) > 1 else ""
    return f"{word(headline.strongest)}: {sign} {with_error(value, error)}{parts}"


def bif(values: Values) -> str:
    """The strongest influence."""
    from interp_tui_engine.results.bif import BIFHeadline

    headline = read(BIFHeadline, values)
    if headline.influence_mean is None or not headline.strongest:
        return llc(values)  # while its chains run
    how = "moves with" if headline.influence_mean > 0 else "moves against"
    pair = word(headline.strongest).replace(" with ", f" {how} ")
    parts = [f"{pair}: influence {with_error(headline.influence_mean, headline.influence_std_error)}"]
    return GAP.join([*parts, *([f"{number(headline.clear)} pairs clear of chance"] if headline.clear is not None else [])])


def certify(values: Values) -> str:
    """How many cases passed."""
    from interp_tui_engine.results.certify import CertifyHeadline

    headline = read(CertifyHeadline, values)
    return f"{number(headline.passed)} of {number(headline.cases)} known answers met" if headline.passed is not None else ""


def calibrate(values: Values) -> str:
    """The setting that was chosen, or why none was."""
    from interp_tui_engine.results.calibrate import CalibrateHeadline

    headline = read(CalibrateHeadline, values)
    if headline.settings is None:
        return ""
    sentence = f"{number(headline.usable)} of {number(headline.settings)} settings usable"
    return sentence if headline.lr is None else f"lr {number(headline.lr, 2)}, nβ {number(headline.n_beta, 3)}; {sentence}"
