"""Figures: a number with its spread and target; medians and ratios of interleaved rounds; how all this is shown and kept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number. low, high: the smallest and largest of its rounds. target: text such as '≥ 1.5'; None where there is none."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    target: str | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        sign, number = self.target.split()[:2]
        limit = float(number)
        return self.value >= limit if sign == "≥" else self.value <= limit if sign == "≤" else self.value < limit

    def text(self) -> str:
        shown = f"{number(self.value)} {self.unit}".strip()
        return shown if self.low is None or self.high is None else f"{shown} [{number(self.low)}–{number(self.high)}]"

    def verdict(self) -> str:
        return "" if self.met is None else "met" if self.met else "MISSED"


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def of_rounds(name: str, values: Sequence[float], unit: str, target: str | None = None, note: str = "") -> Figure:
    """The median over rounds, with the range."""
    return Figure(name, median(values), unit, min(values), max(values), target, note)


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], target: str | None = None, note: str = "") -> Figure:
    """Median of the rounds' own ratios: the two sides of a round ran one right after the other, so a busy machine slows both."""
    return of_rounds(name, [a / b for a, b in zip(ours, theirs, strict=True)], "×", target, note)


def show(title: str, figures: Sequence[Figure]) -> None:
    """A table on the terminal."""
    table = Table(title=title, title_justify="left")
    for heading, justify in (("figure", "left"), ("median [range]", "right"), ("target", "right"), ("", "left"), ("note", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        table.add_row(figure.name, figure.text(), figure.target or "", figure.verdict(), figure.note)
    Console(width=None if Console().is_terminal else 150).print(table)


def write_json(path: Path, machine: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    """Everything measured: `figures` by bench, and the rounds they come from."""
    shaped = {name: {**result, "figures": [{**asdict(f), "met": f.met} for f in result["figures"]]} for name, result in results.items()}
    path.write_text(json.dumps({"machine": machine, "results": shaped}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown(command: str, machine: dict[str, Any], results: dict[str, dict[str, Any]]) -> str:
    """A section for RESULTS.md."""
    lines = [
        f"## {machine['date']}, commit {machine['commit']}",
        "",
        f"`{command}` on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        + (f", {machine['gpu']}" if machine["gpu"] else "")
        + f"; Python {machine['python']}, torch {machine['torch']}.",
        "",
        "| bench | figure | median [range] | target | | note |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        lines += [f"| {name} | {f.name} | {f.text()} | {f.target or ''} | {f.verdict()} | {f.note} |" for f in result["figures"]]
    return "\n".join(lines) + "\n"
