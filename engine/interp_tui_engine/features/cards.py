"""Feature cards and the report that holds them: report.json as interp-lab reads and writes it, what is known beyond that in metadata."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import atomic
from ..errors import UserError
from .card_example import CardExample
from .column_store import FeatureColumn
from .effects import Effect
from .fingerprint import fingerprint
from .interp_lab_score import SeedScore
from .labels import own_label
from .ranking import Ranking
from .text_store import Text

BINS = 12
BEFORE, AFTER = 24, 8
"""Tokens shown before and after the one that a feature fires on."""
FIELDS = ("text_vector", "activation_signature", "decoder_signature", "causal_vector")
SCHEMA_VERSION = "interp-lab.inspection_report.v1"
"""What interp-lab's own commands ask of a report they read."""


def top_rows(column: FeatureColumn, count: int) -> list[tuple[int, float]]:
    """The rows on which a feature is largest in size, with its true value there; of equal ones the earlier."""
    values = column.values.astype(np.float64) + column.offset
    sizes, places = np.abs(values), np.arange(len(values))
    if 0 < count < len(values):  # only what can be among them is put in order
        places = np.flatnonzero(sizes >= np.partition(sizes, len(sizes) - count)[len(sizes) - count])
    order = places[np.lexsort((column.rows[places], -sizes[places]))][:count]
    return [(int(column.rows[i]), float(values[i])) for i in order]


def quantile_rows(column: FeatureColumn, shares: Sequence[float] = (0.9, 0.5, 0.1)) -> list[tuple[int, float]]:
    """Rows at quantiles of the values a feature has where it fires: what it means when it fires less; of equal ones in their order."""
    values = column.values.astype(np.float64) + column.offset
    rows = column.rows[values != 0]
    values = values[values != 0]
    ranks = [round(share * (len(values) - 1)) for share in shares] if len(values) else []
    at_quantiles = []
    for rank, level in zip(ranks, np.partition(values, ranks)[ranks] if ranks else (), strict=True):
        at = np.flatnonzero(values == level)[rank - int((values < level).sum())]
        at_quantiles.append((int(rows[at]), float(level)))
    return at_quantiles


def histogram(column: FeatureColumn, rows: int) -> dict[str, Any]:
    """Counts of a feature's values where it fires, in equal bins; and on how many rows it does not."""
    values = column.values.astype(np.float64) + column.offset
    values = values[values != 0]
    counts, edges = np.histogram(values, BINS) if len(values) else (np.zeros(BINS, dtype=int), np.linspace(0, 1, BINS + 1))
    return {"counts": counts.tolist(), "low": float(edges[0]), "high": float(edges[-1]), "silent": rows - len(values)}


def explanation(row: Mapping[str, Any]) -> str:
    """One sentence that says what the numbers say."""
    if row["auroc"] is None:
        return "There are held-out rows of one class only: nothing can be said."
    verb = "rises" if row["direction"] > 0 else "falls"
    low, high = row["auroc_low"], row["auroc_high"]
    text = f"It {verb} with the criterion: AUROC {row['auroc']:.3f} [{low:.3f}, {high:.3f}] on held-out rows (q = {row['q']:.2g})."
    if row["effect"] is not None:
        clear = "clear of 0 and of its controls" if row["clear"] else "not clear of 0 and of its controls"
        ends = "" if row["effect_low"] is None else f" [{row['effect_low']:.3g}, {row['effect_high']:.3g}]"
        text += f" Changing it moves the score by {row['effect']:.3g}{ends}, {clear}."
    return text


def card(
    row: Mapping[str, Any],
    model: str,
    criterion: str,
    column: FeatureColumn,
    rows: int,
    effect: Effect | None,
    examples: Sequence[CardExample],
    quantiles: Sequence[CardExample],
    about: Mapping[str, Any],
    signature: tuple[Sequence[int], str],
    score: SeedScore | None = None,
) -> dict[str, Any]:
    """One card from a row of the ranking's table, what the feature's column holds and what its records say of it.

    `signature`: the rows whose activations its fingerprint holds, and what names them. `score`: interp-lab's, whose parts the card then
    shows in place of our own.
    """
    effects: dict[str, float] = {"criterion": abs(row["correlation"] or 0.0), "signed_association": row["correlation"] or 0.0}
    if effect is not None:
        effects = causal_effects(effect)
    made: dict[str, Any] = {
        "feature_id": row["feature_id"],
        "model": model,
        "layer": row["layer"],
        "label": row["label"] or own_label(examples, about) or row["feature_id"],
        "explanation": explanation(row),
        "importance": row["importance"],
        "association": abs(row["correlation"] or 0.0),
        "specificity": effect.specificity if effect else max(0.0, row["specificity"] or 0.0),
        "causal_effect": abs(effect.directed.mean) if effect else 0.0,
        "stability": row["stability"],
        "examples": [rendered(example) for example in examples],
        "source": str(about.get("source", "activation-records")),
        "causal_effects": effects,
        "metadata": {
            "ranking": {key: value for key, value in row.items() if key not in ("feature_id", "layer", "label")},
            "activating": [example._asdict() for example in examples],
            "quantiles": [example._asdict() for example in quantiles],
            "histogram": histogram(column, rows),
            **{key: about[key] for key in ("promotes", "suppresses", "nearest", "layer_convention") if key in about},
            **({"metric": effect.metric} if effect is not None and effect.metric is not None else {}),
        },
    }
    if score is not None:
        made |= {"association": score.association, "specificity": score.specificity, "causal_effect": score.causal}
        made["stability"] = score.stability
    decoder = [float(value) for value in about.get("decoder_signature") or ()]
    activations = [value_at(column, row) for row in signature[0]]
    made["fingerprint"] = fingerprint(made, criterion, activations, decoder, signature[1])
    return made


def causal_effects(effect: Effect) -> dict[str, float]:
    """An effect under the keys that reports have for it."""
    by_key = {
        "criterion": abs(effect.directed.mean),
        "specificity": effect.specificity,
        "side_effect": effect.side or 0.0,
        "strong_causal_score": effect.strong,
        "signed_causal_effect": effect.directed.mean,
        "intervention_record_count": float(effect.directed.count),
    }
    if effect.directed.low is not None and effect.directed.high is not None:
        by_key |= {"criterion_ci_low": effect.directed.low, "criterion_ci_high": effect.directed.high}
    if effect.control is not None:
        by_key |= {"control_record_count": float(effect.control.count), "control_mean_effect": effect.control.mean}
    return by_key


def report(
    model: str, criterion: str, cards: Sequence[Mapping[str, Any]], ranking: Ranking, examples: tuple[list[str], list[str]]
) -> dict[str, Any]:
    """report.json. `examples` are positive and negative texts of the criterion."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "criterion": {"text": criterion, "positive_examples": examples[0], "negative_examples": examples[1], "scoring_notes": []},
        "cards": list(cards),
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metadata": {"feature_count": len(ranking.order), "kept_feature_count": len(cards), **ranking.summary},
    }


def read_report(path: Path) -> dict[str, Any]:
    """A report.json, of ours or of interp-lab, with a card at least. Raises UserError, naming the card, where one is of no use."""
    report = atomic.read_json(path)
    cards = report.get("cards") if isinstance(report, dict) else None
    if not isinstance(report, dict) or not isinstance(cards, list) or not cards:
        raise UserError(f"{path} is no report with cards", "give an inspect run that is done, or its report.json")
    for number, card in enumerate(cards, 1):
        what = _wrong_with(card)
        if what:
            raise UserError(f"{path}: card {number} {what}", "was it written by inspect?")
    return report


def _wrong_with(card: Any) -> str:
    """What makes a card useless; empty for a good one."""
    if not isinstance(card, dict) or not isinstance(card.get("feature_id"), str):
        return "has no feature_id"
    fingerprint_of = card.get("fingerprint")
    if not isinstance(fingerprint_of, dict):
        return "has no fingerprint"
    for name in FIELDS:
        values = fingerprint_of.get(name) or []
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            return f"has a fingerprint whose {name} is no list of numbers"
    if not isinstance(card.get("causal_effects") or {}, dict):
        return "has causal_effects that are no table"
    return ""


def examples_of(
    column: FeatureColumn, rows: Sequence[tuple[int, float]], count: int, text_of: Callable[[int], Text], scores: np.ndarray[Any, Any]
) -> list[CardExample]:
    """Examples at these rows, at most `count`, one a text: of several tokens of one text the first named speaks for it.

    scores: of the criterion, (rows,).
    """
    examples: list[CardExample] = []
    seen: set[tuple[str, str]] = set()
    for row, value in rows:
        shown = text_of(row)
        if len(examples) >= count:
            break
        if shown.token and (shown.prompt_id, shown.text) in seen:
            continue
        seen.add((shown.prompt_id, shown.text))
        tokens, values = around(column, row, value, shown, text_of, len(scores))
        examples.append(CardExample(value, float(scores[row]), shown.prompt_id, shown.text, tuple(tokens), tuple(values)))
    return examples


def around(
    column: FeatureColumn, row: int, value: float, text: Text, text_of: Callable[[int], Text], total: int
) -> tuple[list[str], list[float]]:
    """The tokens about a row and the feature's values on them: those of rows beside it, or, of a text with one row, what comes before."""
    if not text.token:
        return [], []

    def same(other: int) -> Text | None:
        if not 0 <= other < total:
            return None
        beside_text = text_of(other)
        return beside_text if beside_text.token and beside_text[:2] == text[:2] else None

    tokens, values = [text.token], [value]
    for step, most in ((-1, BEFORE), (1, AFTER)):
        at = row + step
        while abs(at - row) <= most and (beside := same(at)) is not None:
            place = len(tokens) if step > 0 else 0
            tokens.insert(place, beside.token)
            values.insert(place, value_at(column, at))
            at += step
    if len(tokens) == 1 and text.text.endswith(text.token) and len(text.text) > len(text.token):
        return [text.text.removesuffix(text.token), text.token], [0.0, value]
    return tokens, values


def value_at(column: FeatureColumn, row: int) -> float:
    """A feature's true value on a row; 0 where the row does not name it."""
    at = int(np.searchsorted(column.rows, row))
    return float(column.values[at]) + column.offset if at < len(column.rows) and column.rows[at] == row else 0.0


def rendered(example: CardExample) -> str:
    """An example as reports show it."""
    name = f"{example.prompt_id}: " if example.prompt_id else ""
    return f"{name}activation={example.activation:.3f}, criterion_score={example.score:.3f} | {example.text}"
