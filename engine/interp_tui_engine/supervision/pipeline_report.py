"""A pipeline's report: what was found, the effects as a figure, a line for each step and the steps' own figures. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .. import atomic
from ..manifest import Manifest
from .findings import Findings

FIGURES_A_STEP = 2
EFFECTS = "figures/effects.svg"
WIDTH, ROW, LEFT, RIGHT = 720, 30, 190, 40


def markdown(folder: Path, request: Manifest, rows: Sequence[Mapping[str, Any]], found: Findings) -> str:
    """The report's text; writes its figure to figures/."""
    lines = [f"# pipeline · {_plain(request.name)}", ""]
    lines += [f"- {_plain(sentence)}" for sentence in found.sentences] + ([""] if found.sentences else [])
    if bars := bars_of(found.values.get("found", {})):
        (folder / "figures").mkdir(exist_ok=True)
        title = f"Effect of changing {found.values['found']['feature_id']}, and of its controls"
        atomic.write_text(folder / EFFECTS, intervals_svg(title, bars))
        lines += [f"![effect and controls]({EFFECTS})", ""]
    lines += ["## Steps", "", "| step | kind | state | seconds | result | |", "|---|---|---|---:|---|---|"]
    for row in rows:
        place = Path(str(row["folder"]))
        report = f"[report]({place / 'report.md'})" if (folder / place / "report.md").is_file() else ""
        said = _numbers(row["headline"]) if row["state"] == "done" else str(row["reason"])
        taken = f" (as {row['reused']} has it)" if row["reused"] else ""
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        lines.append(f"| {row['id']} | {row['kind']} | {row['state']}{_plain(taken)} | {seconds} | {_plain(said)} | {report} |")
    lines.append("")
    for row in rows:
        place = Path(str(row["folder"]))
        figures = sorted((folder / place / "figures").glob("*.svg"))[:FIGURES_A_STEP]
        lines += [f"![{row['id']}: {figure.stem}]({place / 'figures' / figure.name})" for figure in figures]
    return "\n".join(lines).rstrip() + "\n"


def bars_of(found: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Name, mean and both ends of the effect, of each kind of control; empty where the feature was not changed."""
    if found.get("effect") is None or found.get("effect_low") is None:
        return []
    bars = [(str(found["feature_id"]), found["effect"], found["effect_low"], found["effect_high"])]
    for kind, one in (found.get("controls") or {}).items():
        if one.get("low") is not None:
            bars.append((str(kind).replace("_", " "), one["mean"], one["low"], one["high"]))
    return bars


def intervals_svg(title: str, bars: Sequence[tuple[str, float, float, float]]) -> str:
    """Means with their intervals on one axis with 0 on it, as SVG."""
    low, high = min(0.0, *(bar[2] for bar in bars)), max(0.0, *(bar[3] for bar in bars))
    span = (high - low) or 1.0
    height = 44 + ROW * len(bars) + 30

    def x(value: float) -> float:
        return LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="22" font-size="14">{escape(title)}</text>',
        f'<path d="M{x(0):.1f} 36V{height - 26}" stroke="#999" stroke-dasharray="3 3"/>',
        f'<text x="{x(0):.1f}" y="{height - 10}" text-anchor="middle">0</text>',
    ]
    for index, (name, mean, left, right) in enumerate(bars):
        y, colour = 52 + ROW * index, "#0072b2" if index == 0 else "#888"
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<path d="M{x(left):.1f} {y}H{x(right):.1f}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(mean):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x(mean):.1f}" y="{y - 8}" text-anchor="middle" font-size="11">{mean:.2f}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _numbers(headline: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in headline.items())


def _plain(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}<>#|!" else c for c in " ".join(str(text).split()))
