"""A pipeline's report: what was found, the effects as a figure, a line for each step and the steps' own figures. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..figures.intervals import intervals_svg
from ..manifest import Manifest
from ..markdown import words
from ..uncertainty import headline_text
from .pipeline_findings import Findings

FIGURES_A_STEP = 2
EFFECTS = "figures/effects.svg"


def markdown(folder: Path, request: Manifest, rows: Sequence[Mapping[str, Any]], findings: Findings) -> str:
    """The report's text; writes its figure to figures/."""
    lines = [f"# pipeline · {words(request.name)}", ""]
    lines += [f"- {words(sentence)}" for sentence in findings.sentences] + ([""] if findings.sentences else [])
    if bars := bars_of(findings.values.get("found", {})):
        (folder / "figures").mkdir(exist_ok=True)
        title = f"Effect of changing {findings.values['found']['feature_id']}, and of its controls"
        atomic.write_text(folder / EFFECTS, intervals_svg(title, bars))
        lines += [f"![effect and controls]({EFFECTS})", ""]
    lines += ["## Steps", "", "| step | kind | state | seconds | result | |", "|---|---|---|---:|---|---|"]
    for row in rows:
        place = Path(str(row["folder"]))
        report = f"[report]({place / 'report.md'})" if (folder / place / "report.md").is_file() else ""
        outcome = _numbers(row["headline"]) if row["state"] == "done" else str(row["reason"])
        taken = f" (as {row['reused']} has it)" if row["reused"] else ""
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(f"| {row['id']} | {row['kind']} | {row['state']}{words(taken)} | {seconds} | {words(outcome)} | {report} |")
    lines.append("")
    for row in rows:
        place = Path(str(row["folder"]))
        figures = sorted((folder / place / "figures").glob("*.svg"))[:FIGURES_A_STEP]
        lines += [f"![{row['id']}: {figure.stem}]({place / 'figures' / figure.name})" for figure in figures]
    return "\n".join(lines).rstrip() + "\n"


def bars_of(feature: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Name, mean and both ends of the effect, of each kind of control; empty where the feature was not changed."""
    if feature.get("effect") is None or feature.get("effect_low") is None:
        return []
    bars = [(str(feature["feature_id"]), feature["effect"], feature["effect_low"], feature["effect_high"])]
    for kind, control in (feature.get("controls") or {}).items():
        if control.get("low") is not None:
            bars.append((str(kind).replace("_", " "), control["mean"], control["low"], control["high"]))
    return bars


def _numbers(headline: Mapping[str, Any]) -> str:
    shown = {key: headline_text(headline, key) or str(value) for key, value in headline.items() if not isinstance(value, Mapping)}
    return ", ".join(f"{key} {value}" for key, value in shown.items())
