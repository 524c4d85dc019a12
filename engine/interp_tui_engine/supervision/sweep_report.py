"""A sweep's report: a table of its points, and a figure of each headline number over the first axis. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import atomic
from ..figures.lines import Curve, lines_svg
from ..manifest import Manifest
from ..markdown import words
from ..numbers import as_finite, short
from ..uncertainty import headline_text

MAX_CURVES = 8

Row = Mapping[str, Any]


def markdown(folder: Path, request: Manifest, rows: Sequence[Row]) -> str:
    """The report's text; writes its figures to figures/."""
    keys = list(request.sweep)
    names = numbers_of(rows)
    lines = [
        f"# {words(request.name)}: a sweep of {request.kind}",
        "",
        f"{len(rows)} points over {', '.join(f'`{key}`' for key in keys)}.",
        "",
    ]
    lines += [_line([*keys, "state", *names]), _line(["---"] * (len(keys) + 1 + len(names)))]
    for row in rows:
        cells = [_asked(row["values"][key]) for key in keys] + [row["state"]]
        lines.append(_line([*cells, *(headline_text(row["headline"], name) or _shown(row["headline"].get(name)) for name in names)]))
    lines.append("")
    for name in names:
        curves = list(curves_of(request.sweep, rows, name))
        if any(len(curve.x) > 1 for curve in curves):
            file = f"figures/{name}.svg"
            (folder / "figures").mkdir(exist_ok=True)
            atomic.write_text(folder / file, lines_svg(f"{name} over {keys[0]}", keys[0], name, curves[:MAX_CURVES]))
            lines.append(f"![{name} over {keys[0]}]({file})")
    return "\n".join(lines) + "\n"


def numbers_of(rows: Sequence[Row]) -> list[str]:
    """The headline numbers that any point has, in the order they first come."""
    names: dict[str, None] = {}
    for row in rows:
        names |= {name: None for name, value in row["headline"].items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return list(names)


def curves_of(axes: Mapping[str, Sequence[Any]], rows: Sequence[Row], name: str) -> Iterator[Curve]:
    """One curve over the first axis for each combination of the others. Values that are no numbers stand at 0, 1, 2, …"""
    first, *others = axes
    values = list(axes[first])
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    by_others: dict[str, list[Row]] = {}
    for row in rows:
        by_others.setdefault(", ".join(f"{key.split('.')[-1]} {_asked(row['values'][key])}" for key in others), []).append(row)
    for label, group in by_others.items():
        x = [float(row["values"][first]) if numeric else float(values.index(row["values"][first])) for row in group]
        y = [as_finite(row["headline"].get(name)) for row in group]
        yield Curve(label or name, x, y)


def _asked(value: Any) -> str:
    """A value of an axis as a manifest says it: `0.0001`."""
    return f"{value:g}" if isinstance(value, float) else words(value)


def _shown(value: Any) -> str:
    return "" if value is None else short(value, 4) if isinstance(value, float) else words(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
