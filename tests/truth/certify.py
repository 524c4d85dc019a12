"""certify: do its bars cover the exact finite-temperature values, and does it reject a kernel that is slightly wrong?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

from interp_tui_engine.estimators import known_cases
from interp_tui_engine.samplers import sgld
from interp_tui_engine.samplers.certification.certify import CaseResult, Target, certify_case

from . import record
from .outcome import Outcome

CASES: tuple[dict[str, Any], ...] = (
    {"family": "quadratic", "curvatures": [0.5, 1.0, 2.0, 4.0]},
    {"family": "monomial", "powers": [2], "n_beta": 100.0},
    {"family": "monomial", "powers": [1, 1], "n_beta": 1e4},
    {"family": "reduced_rank_regression", "inputs": 4, "hidden": 3, "outputs": 4, "rank": 1, "n_beta": 100.0},
    {"family": "deep_linear_network", "widths": [4, 3, 3, 4], "rank": 1, "n_beta": 100.0},
    {"family": "deep_linear_network", "widths": [6, 5, 4, 5, 6], "rank": 2, "n_beta": 100.0},
)
QUICK_CASES = CASES[:2]
Step = Callable[..., sgld.SGLDState]


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage of the 95 % bar of each case, the rate at which a right kernel fails, and at which a wrong one does."""
    for case in QUICK_CASES if quick else CASES:
        seeds = 10 if quick else 200 if case["family"] in ("quadratic", "monomial") else 40
        name = known_cases.case_name(case)
        found = record.each(f"certify, {name}", range(seeds), partial(_judged, case))
        yield Outcome("certify", "coverage", name, sum(covered for covered, _ in found), seeds, 0.95, "of E[nβK] at the case's temperature")
        rejected = sum(not passed for _, passed in found)
        yield Outcome("certify", "false positives", name, rejected, seeds, 0.0027, "a right kernel fails, at three errors")
    wrong = CASES[0] if quick else CASES[3]
    for what, kernel in (("noise × 1.03", louder), ("γ left out", unlocalised)):
        case = wrong if kernel is louder else {"family": "quadratic", "curvatures": [0.02, 1.0], "localization": 2.0, "n_beta": 100.0}
        seeds, name = 5 if quick else 20, f"{known_cases.case_name(case)}: {what}"
        with mock.patch.object(sgld, "step", kernel(sgld.step)):
            found = record.each(f"certify, {name}", range(seeds), partial(_judged, case))
        yield Outcome("certify", "power", name, sum(not passed for _, passed in found), seeds, None, "a wrong kernel fails")


def _judged(case: dict[str, Any], seed: int) -> tuple[bool, bool]:
    """Whether the bar of the first measurement covers the exact value, and whether the case passed."""
    found = certified(case, seed)
    covered = found.measurements == 1 and abs(found.raw - found.step_bias - (found.exact or 0.0)) <= 1.96 * found.std_error
    return bool(covered), found.passed


def certified(case: dict[str, Any], seed: int) -> CaseResult:
    """The case as the kind runs it."""
    exact = partial(known_cases.posterior_at, case), partial(known_cases.sampler_at, case)
    return certify_case(case, known_cases.case_name(case), Target(*known_cases.expected(case), *exact), seed)


def louder(step: Step) -> Step:
    """A kernel whose noise is 3 % too large."""
    return lambda state, gradient, noise, *rest: step(state, gradient, noise.mul_(1.03), *rest)


def unlocalised(step: Step) -> Step:
    """A kernel that forgets the pull to w0."""

    def without(state: Any, gradient: Any, noise: Any, anchor: Any, mask: Any, config: Any) -> sgld.SGLDState:
        return step(state, gradient, noise, anchor, mask, config.model_copy(update={"localization": 0.0}))

    return without
