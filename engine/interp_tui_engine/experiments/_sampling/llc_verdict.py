"""Whether the λ̂ of one run is a learning coefficient: its own run held to what a calibration asks of a setting. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray

from ...estimators.calibration import MOST_OF_CONTROL, Setting, Shown, drift_of, judge
from ...estimators.llc import acceptance_of
from ...numbers import as_finite
from ...samplers.settings import SamplerConfig
from ...uncertainty import Uncertainty, none_known

USES = "compare λ̂ with others at the same n_beta, localization and lr; alone it is no count of parameters"


@dataclass(frozen=True)
class LLCVerdict:
    """What a run's λ̂ may be used for, and why. control: how far the loss rises with noise and localization alone, nats, where known."""

    text: str
    usable: bool
    reasons: tuple[str, ...]
    shown: Shown
    control: float | None


def verdict_on(
    estimate: xr.Dataset,
    samples: xr.Dataset,
    config: SamplerConfig,
    control: Float[NDArray[np.float64], " draw"] | None,
    vocabulary: int,
) -> LLCVerdict:
    """Hold a run to its control, to R̂, drift, uniform guessing and w₀ being a minimum. `estimate` is what `compute_llc` gave."""
    healthy = [int(chain) for chain in estimate.attrs["healthy_chains"]]
    after = slice(config.num_burnin_steps, None)
    rise = estimate["rise_trace"].values[healthy, after]
    drift, drift_error = drift_of(rise[:, :: config.num_steps_bw_draws])
    acceptance, acceptance_error = acceptance_of(samples, healthy)
    llc, error, rhat, ess = (as_finite(float(estimate[name])) for name in ("llc_mean", "llc_std_error", "rhat", "ess"))
    shown = Shown(
        Setting(config.lr, config.n_beta, config.localization),
        rise=float(rise.mean()),
        llc=llc,
        llc_error=error,
        rhat=rhat,
        ess=ess,
        acceptance=acceptance,
        acceptance_error=acceptance_error,
        drift=drift,
        drift_error=drift_error,
        failed=config.num_chains - len(healthy),
        chains=config.num_chains,
        loss=float(estimate["loss_trace"].values[healthy, after].mean()),
        uniform=math.log(vocabulary),
    )
    reach = None if control is None else as_finite(float(control.mean()))
    judged = judge(shown, Shown(Setting(config.lr, 0.0, config.localization), rise=reach))
    if judged.usable:
        return LLCVerdict(f"usable: {USES}", True, tuple(_remarks(shown, reach, control)), shown, reach)
    return LLCVerdict(f"not usable: {judged.against[0]}", False, (*judged.against, *_remarks(shown, reach, control)), shown, reach)


def _remarks(shown: Shown, reach: float | None, control: NDArray[np.float64] | None) -> Sequence[str]:
    """What else a reader should know of the run, whatever the verdict."""
    notes = []
    if reach is not None and shown.rise is not None and reach > 0 and 0 < shown.rise <= MOST_OF_CONTROL * reach:
        notes.append(f"the loss rises {shown.rise / reach:.0%} as far as with noise and localization alone: the loss holds the chains")
        notes.append("this is one n_beta: only where λ̂ levels off over n_beta is it a learning coefficient (kind calibrate tries)")
    elif control is None:
        notes.append("without localization there is no control: how far noise alone would go is not known")
    elif reach is None:
        notes.append("with noise and localization alone the loss is not finite: the loss holds the chains")
    if shown.acceptance is not None:
        error = "" if shown.acceptance_error is None else f" ± {shown.acceptance_error:.0%}"
        notes.append(f"a Metropolis test would accept {shown.acceptance:.0%}{error} of the steps: what it rejects is the step size's bias")
    return notes


def uncertainties(estimate: xr.Dataset, config: SamplerConfig, verdict: LLCVerdict) -> dict[str, Uncertainty]:
    """How sure the headline numbers of the run are."""
    chains = len(estimate.attrs["healthy_chains"])
    over = f"{chains} {'chain' if chains == 1 else 'chains'} × {config.num_draws} draws"
    error, low, high = (as_finite(float(estimate[name])) for name in ("llc_std_error", "llc_low", "llc_high"))
    why = f"{over} say nothing of their own scatter"
    shown, reach = verdict.shown, verdict.control
    bars = {"llc_mean": none_known(why), "loss_mean": none_known(why)}
    if error is not None:
        control = None if reach is None else config.n_beta * reach
        clear = None if reach is None or shown.rise is None else 0 < shown.rise <= MOST_OF_CONTROL * reach
        bars["llc_mean"] = Uncertainty(over, error, low, high, control=control, clear=clear)
        if config.n_beta:
            bars["loss_mean"] = Uncertainty(over, error / config.n_beta, note="of these rows")
    if shown.acceptance is not None and shown.acceptance_error is not None:
        bars["acceptance"] = Uncertainty("looks at single steps", shown.acceptance_error)
    return bars
