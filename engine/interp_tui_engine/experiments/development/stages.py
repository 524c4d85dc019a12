"""Where a quantity changed over training by more than its errors, and the report that says so. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any, TypeVar

from ...manifest import Manifest
from ...numbers import short
from ...results.development import DevelopmentResult, DevelopmentStage
from ...uncertainty import plus_minus

CLEAR = 3.0
"""Standard errors by which two checkpoints must differ for a stage to be named: some fifty differences are looked at, and chance alone
exceeds three errors once in 370."""
MOST_RHAT = 1.1
Series = Mapping[str, Sequence[float | None]]
Column = TypeVar("Column", bound=Sequence[float | None])


def error_of(name: str) -> str:
    """The series that holds a series' standard errors: `llc_std_error` of `llc_mean`, `x_std_error` of any other x."""
    return f"{name.removesuffix('_mean')}_std_error"


def quantities(series: Mapping[str, Column]) -> dict[str, Column]:
    """The series that say something of the model: neither errors nor diagnostics."""
    return {name: values for name, values in series.items() if not name.endswith("_std_error") and name not in ("rhat", "ess")}


def merged(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One checkpoint's numbers from its seeds: means, with the larger of the error that the seeds state and that of their spread."""
    done = [run["headline"] for run in runs if run["headline"]]
    if not done:
        return dict(runs[0])
    headline: dict[str, float] = {}
    for name in dict.fromkeys(name for numbers in done for name in numbers if not name.endswith("_std_error")):
        values = [numbers[name] for numbers in done if name in numbers]
        headline[name] = max(values) if name == "rhat" else fmean(values)
        stated = [numbers[error_of(name)] for numbers in done if error_of(name) in numbers]
        errors = [math.sqrt(sum(error**2 for error in stated)) / len(stated)] if len(stated) == len(values) else []
        if len(values) > 1 and name != "rhat" and max(values) > min(values):
            errors.append(stdev(values) / math.sqrt(len(values)))
        if errors:
            headline[error_of(name)] = max(errors)
    return {"headline": headline, "reason": next((run["reason"] for run in runs if run["reason"]), ""), "state": "done"}


def exact(name: str) -> bool:
    """Whether a quantity has no sampling error: it is taken on fixed rows at the checkpoint's own weights."""
    return name == "init_loss" or name.startswith("first order ")


def usable(series: Mapping[str, list[float | None]], name: str, at: int) -> bool:
    """Whether a checkpoint's number may speak for a stage."""
    if exact(name) or name == "fact_accuracy":
        return True
    rhat, value = series.get("rhat", [None] * (at + 1))[at], series[name][at]
    return (rhat is None or rhat <= MOST_RHAT) and not (name == "llc_mean" and value is not None and value < 0)


def stages(series: Mapping[str, list[float | None]]) -> tuple[DevelopmentStage, ...]:
    """For each quantity the step from one checkpoint to the next with the largest change, if that is clear of both errors.

    Quantities without errors have no stage, except those that are exact; nor does a negative LLC, which is none: w0 is no minimum there;
    nor sampled numbers of a checkpoint whose chains do not agree.
    """
    changes = []
    for name, values in quantities(series).items():
        errors = series.get(error_of(name), [0.0 if exact(name) else None] * len(values))
        kept = [value if usable(series, name, at) and errors[at] is not None else None for at, value in enumerate(values)]
        steps = [(abs(b - a), at) for at, (a, b) in enumerate(pairwise(kept)) if a is not None and b is not None]
        if not steps:
            continue
        change, at = max(steps)
        before, after = errors[at], errors[at + 1]
        error = math.hypot(before or 0.0, after or 0.0)
        if change > CLEAR * error and change > 0:
            changes.append(DevelopmentStage(quantity=name, from_=at, to=at + 1, before=kept[at], after=kept[at + 1], std_error=error))
    return tuple(changes)


def report(manifest: Manifest, values: DevelopmentResult) -> str:
    """Markdown for report.md."""
    revisions, series = values.revisions, values.series
    shown = quantities(series)
    seeds = manifest.params.seeds
    lines = [
        f"# development · {manifest.name}",
        "",
        f"Means over {seeds} {'seed' if seeds == 1 else 'seeds'} of {manifest.params.num_chains} chains; ± is one standard error.",
        "",
        "![every quantity over the checkpoints](figures/development.svg)",
        "",
        f"| checkpoint | {' | '.join(shown)} | R̂ |",
        f"|---|{'---:|' * (len(shown) + 1)}",
    ]
    rhats = series.get("rhat", [None] * len(revisions))
    for index, revision in enumerate(revisions):
        cells = [_cell(column[index], series.get(error_of(name), [None] * len(revisions))[index]) for name, column in shown.items()]
        lines.append(f"| {revision} | {' | '.join(cells)} | {_cell(rhats[index], None)} |")
    lines += ["", f"Stages: where a quantity changed most from one checkpoint to the next, by more than {CLEAR:.0f} standard errors:", ""]
    for stage in values.stages:
        change = f"{short(stage.before, 4)} → {short(stage.after, 4)}" + (f", ± {short(stage.std_error, 2)}" if stage.std_error else "")
        lines.append(f"- {stage.quantity}: {_name(revisions, stage.from_)} → {_name(revisions, stage.to)} ({change})")
    without = [name for name in shown if name not in {stage.quantity for stage in values.stages}]
    if without:
        lines.append(f"- none is clear of its errors in: {', '.join(without)}")
    return "\n".join([*lines, *_remarks(revisions, series), ""])


def _name(revisions: Sequence[str], at: int | None) -> str:
    return "?" if at is None else revisions[at]


def _remarks(revisions: Sequence[str], series: Series) -> list[str]:
    lines = []
    negative = [revisions[at] for at, value in enumerate(series.get("llc_mean", [])) if value is not None and value < 0]
    if negative:
        lines.append(
            f"- λ̂ is negative at {', '.join(negative)}: w₀ is no minimum of the loss there, and the number no learning coefficient"
        )
    unmixed = [f"{revisions[at]} ({rhat:.2f})" for at, rhat in enumerate(series.get("rhat", [])) if rhat is not None and rhat > MOST_RHAT]
    if unmixed:
        lines.append(
            f"- R̂ above {MOST_RHAT} at {', '.join(unmixed)}: the chains do not agree there; more draws or burn-in would settle them"
        )
    return ["", *lines] if lines else []


def _cell(value: float | None, error: float | None) -> str:
    return "–" if value is None else short(value, 4) if not error else plus_minus(value, error)
