"""What an inspect run says in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...features.ranking import REPEATS, Ranking
from ...markdown import code, words
from ...numbers import short
from .params import Params

ROWS, CARDS = 20, 10


def markdown(params: Params, model: str, ranked: Ranking, cards: Sequence[Mapping[str, Any]]) -> str:
    """The answer, the table's head, the first cards, and how far to trust it."""
    summary = ranked.summary
    lines = [f"# inspect · {words(params.criterion)}", ""]
    lines += [
        f"Model `{code(model)}`, {summary['features']:,} features" + (f" on {summary['rows']:,} rows" if summary["rows"] else "") + ".",
        "",
    ]
    if summary["rows"]:
        lines += [
            f"**{summary['associated']} features go with the criterion** "
            f"(false discovery rate {params.alpha:g} over {summary['tested']:,} tested), "
            f"**{summary['causal']} of them cause it**: changing them moves the score, clear of 0 and of its controls.",
            "",
            f"Numbers are from {summary['held_out_rows']:,} held-out {unit(summary)} ({summary['held_out_positives']:,} positive); "
            "each feature's direction was fixed on the others.",
            "",
        ]
    lines += ["| rank | feature | label | AUROC | q | effect | side | stable |", "|---:|---|---|---:|---:|---:|---:|---:|"]
    table = ranked.table
    for i in range(min(ROWS, len(ranked.order))):
        row = {key: column[i] for key, column in table.items()}
        lines.append(
            f"| {row['rank']} | {words(row['feature_id'])}{_again(row)} | {words(row['label'][:60])} | {_with(row, 'auroc')} "
            f"| {short(row['q'])} | {_with(row, 'effect')}{' ◆' if row['clear'] else ''} | {short(row['side_effect'])} "
            f"| {short(row['stability'])} |"
        )
    lines += ["", "◆ the interval is clear of 0, and the effect stands out from its controls.", ""]
    if any(value is not None for value in table.get("repeats", ())):
        lines += ["↻ another start of the dictionary finds the latent too.", ""]
    for card in cards[:CARDS]:
        lines += [f"## {words(card['feature_id'])} · {words(str(card['label'])[:80])}", "", words(card["explanation"]), ""]
        activating = (card.get("metadata") or {}).get("activating") or []
        lines += [_example(example) for example in activating[:5]] or [f"- {words(example[:200])}" for example in card["examples"][:5]]
        lines.append("")
        lines += _words(card.get("metadata") or {})
    null = summary.get("null_z_95")
    if null is not None:
        lines += [f"With shuffled labels the strongest of all features stays below z = {null:.2f} in 95 % of shuffles.", ""]
    return "\n".join(lines)


def _again(row: Mapping[str, Any]) -> str:
    return " ↻" if (row.get("repeats") or 0.0) >= REPEATS else ""


def unit(summary: Mapping[str, Any]) -> str:
    return "texts, of whose rows the means are taken" if summary.get("unit") == "text" else "rows"


def _example(example: Mapping[str, Any]) -> str:
    """A text with its activation; tokens on which the feature has at least half of it are bold."""
    tokens, values = example["tokens"], example["values"]
    if not tokens:
        return f"- {example['activation']:.3f} · {words(example['text'][:200])}"
    least = max(map(abs, values)) / 2
    shown = "".join(
        f"{' ' * (token[:1] == ' ')}**{words(token)}**" if token.strip() and abs(value) >= least > 0 else _spaced(token)
        for token, value in zip(tokens, values, strict=True)
    )
    return f"- {example['activation']:.3f} · {shown.strip()}"


def _spaced(token: str) -> str:
    """A token as plain words, with the white space at its ends that parts it from its neighbours."""
    return f"{' ' * (token[:1].isspace())}{words(token)}{' ' * (token[-1:].isspace() and bool(token.strip()))}"


def _words(metadata: Mapping[str, Any]) -> list[str]:
    """What the feature promotes, suppresses and is near to, and how its label was tested."""
    lines = []
    for key in ("promotes", "suppresses", "nearest"):
        tokens = metadata.get(key)
        if isinstance(tokens, list) and tokens:
            lines.append(f"{key.capitalize()}: {', '.join(words(word) for word in tokens[:8])}.")
    if metadata.get("detection") is not None:
        lines.append(f"By its label alone it was told from silent texts with balanced accuracy {metadata['detection']:.2f} (chance: 0.5).")
    return [*(f"{line}  " for line in lines), ""] if lines else []


def _with(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")
