"""One checkpoint's numbers from its seeds, and how well each error is known. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

LEAST_SEEDS = 3
"""Seeds whose spread alone makes an error; that of two is known from one degree of freedom, and far too small as often as not."""


def error_of(name: str) -> str:
    """The series that holds a series' standard errors: `llc_std_error` of `llc_mean`, `x_std_error` of any other x."""
    return f"{name.removesuffix('_mean')}_std_error"


def merged(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One checkpoint's numbers from its seeds: means, with the larger of the error that the seeds state and that of their spread; and the
    degrees of freedom of each error, by its number's name.

    Where a seed states no error, the spread alone is one from LEAST_SEEDS seeds on.
    """
    done = [run for run in runs if run["headline"]]
    if not done:
        return {**runs[0], "freedom": {}}
    headline: dict[str, float] = {}
    freedom: dict[str, float] = {}
    for name in dict.fromkeys(name for run in done for name in run["headline"] if not name.endswith("_std_error")):
        having = [run for run in done if name in run["headline"]]
        values = [run["headline"][name] for run in having]
        headline[name] = max(values) if name == "rhat" else fmean(values)
        error = None if name == "rhat" else _error_of_mean(values, [_stated(run, name) for run in having])
        if error is not None:
            headline[error_of(name)] = error.std_error
            if math.isfinite(error.freedom):
                freedom[name] = error.freedom
    reason = next((run["reason"] for run in runs if run["reason"]), "")
    return {"headline": headline, "freedom": freedom, "reason": reason, "state": "done"}


class Error(NamedTuple):
    """A standard error, and the degrees of freedom it is known from."""

    std_error: float
    freedom: float = math.inf

    @staticmethod
    def of_sum(errors: Sequence[Error]) -> Error:
        """Of the sum of independent numbers, with Welch and Satterthwaite's degrees of freedom."""
        total = math.sqrt(sum(error.std_error**2 for error in errors))
        doubt = sum(error.std_error**4 / error.freedom for error in errors)
        return Error(total, total**4 / doubt if doubt else math.inf)


def _stated(run: Mapping[str, Any], name: str) -> Error | None:
    error = run["headline"].get(error_of(name))
    return None if error is None else Error(error, run.get("freedom", {}).get(name, math.inf))


def _error_of_mean(values: Sequence[float], stated: Sequence[Error | None]) -> Error | None:
    known = [error for error in stated if error is not None]
    spread = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    if known and len(known) == len(values):
        total = Error.of_sum(known)
        # a spread that is larger by chance only makes the bar too long: the degrees of freedom remain those of the errors stated
        return Error(max(total.std_error / len(known), spread), total.freedom)
    return Error(spread, len(values) - 1) if len(values) >= LEAST_SEEDS and spread else None


def half_width(error: Error, miss: float = 0.05) -> float:
    """Of the interval, by Student's t, that misses the truth as often as `miss`."""
    from scipy.special import stdtrit  # scipy is slow to import

    return float(stdtrit(min(error.freedom, 1e9), 1 - miss / 2)) * error.std_error
