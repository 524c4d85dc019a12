"""The table of what a GPU showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(about: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a part, then each part's figures."""
    lines = [
        f"# {about['gpu']}",
        "",
        f"{about['count']} of them, {about['memory_gib']:.0f} GiB each; torch {about['torch']}, CUDA {about['cuda']}.",
        "",
        "| part | held | seconds | note |",
        "|---|---|---:|---|",
    ]
    for name, part in parts.items():
        held = "cut short" if part["cut_short"] else "yes" if part["held"] else "NO"
        lines.append(f"| {name} | {held} | {part['seconds']:.0f} | {part['note'].replace('|', '/')} |")
    for name, part in parts.items():
        if part["figures"]:
            lines += ["", f"## {name}", "", "| figure | value |", "|---|---|"]
            lines += [f"| {figure} | {_text(value)} |" for figure, value in part["figures"].items()]
    return "\n".join([*lines, ""])


def _text(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
