"""What an inspect run says in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..features.ranking import Ranking
from .inspect import Params

ROWS, CARDS = 20, 10


def markdown(params: Params, model: str, ranked: Ranking, cards: Sequence[Mapping[str, Any]]) -> str:
    """The answer, the table's head, the first cards, and how far to trust it."""
    summary = ranked.summary
    lines = [f"# inspect · {_safe(params.criterion)}", ""]
    lines += [f"Model `{model}`, {summary['features']:,} features" + (f" on {summary['rows']:,} rows" if summary["rows"] else "") + ".", ""]
    if summary["rows"]:
        lines += [
            f"**{summary['associated']} features go with the criterion** "
            f"(false discovery rate {params.alpha:g} over {summary['tested']:,} tested), "
            f"**{summary['causal']} of them cause it**: changing them moves the score, clear of 0 and of its controls.",
            "",
            f"Numbers are from {summary['held_out_rows']:,} held-out rows ({summary['held_out_positives']:,} positive); "
            "each feature's direction was fixed on the others.",
            "",
        ]
    lines += ["| rank | feature | label | AUROC | q | effect | side | stable |", "|---:|---|---|---:|---:|---:|---:|---:|"]
    table = ranked.table
    for i in range(min(ROWS, len(ranked.order))):
        row = {key: column[i] for key, column in table.items()}
        lines.append(
            f"| {row['rank']} | {_safe(row['feature_id'])} | {_safe(row['label'][:60])} | {_with(row, 'auroc')} | {_number(row['q'])} "
            f"| {_with(row, 'effect')}{' ◆' if row['clear'] else ''} | {_number(row['side_effect'])} | {_number(row['stability'])} |"
        )
    lines += ["", "◆ the interval is clear of 0 and of the controls.", ""]
    for card in cards[:CARDS]:
        lines += [f"## {_safe(card['feature_id'])} · {_safe(str(card['label'])[:80])}", "", _safe(card["explanation"]), ""]
        lines += [f"- {_safe(example[:200])}" for example in card["examples"][:5]]
        lines.append("")
    null = summary.get("null_z_95")
    if null is not None:
        lines += [f"With shuffled labels the strongest of all features stays below z = {null:.2f} in 95 % of shuffles.", ""]
    return "\n".join(lines)


def _with(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _safe(text: str) -> str:
    """Text from models and data as plain words: no table cells, links, images or markup of its own."""
    flat = " ".join(str(text).split())
    return "".join("\\" + c if c in "\\`*_{}[]<>#|!" else c for c in flat)
