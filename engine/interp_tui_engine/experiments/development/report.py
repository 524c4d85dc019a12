"""report.md of a development. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from ...manifest import Manifest
from ...numbers import short
from ...results.development import DevelopmentResult
from ...uncertainty import plus_minus
from .seeds import error_of
from .stages import LEVEL, MOST_RHAT, Series, comparable, quantities


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
    clear = "Stages: the largest change of a quantity from one checkpoint to the next that is clear of its errors"
    lines += ["", f"{clear} (where nothing changes, one run in {1 / LEVEL:.0f} names any):", ""]
    for stage in values.stages:
        change = f"{short(stage.before, 4)} → {short(stage.after, 4)}" + (f", ± {short(stage.std_error, 2)}" if stage.std_error else "")
        lines.append(f"- {stage.quantity}: {_name(revisions, stage.from_)} → {_name(revisions, stage.to)} ({change})")
    without = [name for name in shown if name not in {stage.quantity for stage in values.stages}]
    compared = [name for name in without if comparable(series, name)]
    for names, why in (
        (compared, "none is clear of its errors in"),
        ([name for name in without if name not in compared], "no two checkpoints that follow each other can be compared in"),
    ):
        lines += [f"- {why}: {', '.join(names)}"] if names else []
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
    if any(name.startswith("first order ") for name in series):
        lines.append(
            "- localization prevails over the loss here: λ̂ is nβ times the rise of the loss within the scatter that localization allows. It"
            " compares checkpoints at this setting, and is no learning coefficient"
        )
    return ["", *lines] if lines else []


def _cell(value: float | None, error: float | None) -> str:
    return "–" if value is None else short(value, 4) if not error else plus_minus(value, error)
