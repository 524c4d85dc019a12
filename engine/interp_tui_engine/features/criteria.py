"""A criterion is a sentence and scored prompts that say what it means. Prompts from templates, and what makes a set of them unfair."""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..validation_errors import nearest
from .prompts import Prompt

Scorer = Callable[[str], float]
MOST_CANDIDATES = 100_000
LEAKING_SHARE = 0.95
"""A word that alone tells positives from negatives for such a share of prompts gives the answer away."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a set of prompts: which check, how bad (its number), and what to do."""

    check: str
    value: float
    message: str


def rule(text: str) -> Scorer:
    """A scorer from `words: paris, rome` (any of them, as whole words) or `regex: \\d+ metres`: 1 where it is found, else 0, in any case.

    Raises UserError for anything else.
    """
    name, colon, body = text.partition(":")
    body = body.strip()
    if not colon or name.strip() not in ("words", "regex") or not body:
        guess = nearest(name.strip(), ["words", "regex"])
        hint = f"did you mean {guess!r}? " if guess else ""
        raise UserError(f"no rule: {text!r:.80}", f"{hint}write 'words: paris, rome' or 'regex: [0-9]+ metres'")
    if name.strip() == "words":
        words = [re.escape(word.strip()) for word in body.split(",") if word.strip()]
        body = rf"(?<!\w)(?:{'|'.join(words)})(?!\w)"
    try:
        pattern = re.compile(body, re.IGNORECASE)
    except re.error as error:
        raise UserError(f"rule {text!r:.80} is no regular expression: {error}") from None
    return lambda given: 1.0 if pattern.search(given) else 0.0


def candidates(templates: Sequence[str], slots: Mapping[str, Sequence[str]], score: float) -> list[Prompt]:
    """Every filling of every template: `"The capital of {country} is"` with `{"country": [...]}`; in the templates' order, each text once.

    Raises UserError for a slot that has no values and for more than 100,000 prompts.
    """
    by_text: dict[str, Prompt] = {}
    for number, template in enumerate(templates):
        names = list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))
        missing = [name for name in names if not slots.get(name)]
        if missing:
            guess = nearest(missing[0], list(slots))
            hint = f"{f'did you mean {guess!r}? ' if guess else ''}slots: {', '.join(slots) or 'none'}"
            raise UserError(f"template {template!r:.60} has a slot {missing[0]!r} without values", hint)
        for values in itertools.product(*(slots[name] for name in names)):
            filled = dict(zip(names, values, strict=True))
            text = template.format(**filled)
            by_text.setdefault(text, Prompt(text, score, f"t{number}-{len(by_text)}", {"template": number, "slots": filled}))
            if len(by_text) > MOST_CANDIDATES:
                raise UserError(f"the templates make more than {MOST_CANDIDATES:,} prompts", "give fewer values a slot")
    return list(by_text.values())


def check(prompts: Sequence[Prompt], *, positive_above: float) -> list[Finding]:
    """What would let something other than the criterion explain a result: balance, repeated texts, length, single words.

    Length: AUROC of the number of characters for the class. Words: one in at least LEAKING_SHARE of one class and at most the rest of the
    other.
    """
    positive = np.array([p.score > positive_above for p in prompts])
    count, positives = len(prompts), int(positive.sum())
    findings = []
    if positives in (0, count):
        return [Finding("balance", positives / max(count, 1), f"all {count} prompts are {'positive' if positives else 'negative'}")]
    share = positives / count
    if min(share, 1 - share) < 0.2:
        findings.append(
            Finding("balance", share, f"{positives} of {count} prompts are positive: intervals will be wide on the rarer class")
        )
    scores_by_text: dict[str, set[bool]] = {}
    for prompt, is_positive in zip(prompts, positive.tolist(), strict=True):
        scores_by_text.setdefault(" ".join(prompt.text.lower().split()), set()).add(is_positive)
    repeated = count - len(scores_by_text)
    if repeated:
        both = sum(len(classes) > 1 for classes in scores_by_text.values())
        message = f"{repeated} prompts repeat another's text" + (f", {both} of them with the other score" if both else "")
        findings.append(Finding("leakage", repeated / count, f"{message}; equal texts stay on one side of a split"))
    lengths = np.array([len(p.text) for p in prompts])
    area = _area(lengths, positive)
    if abs(area - 0.5) > 0.25:
        longer = "longer" if area > 0.5 else "shorter"
        findings.append(
            Finding("length", area, f"positives are {longer}: length alone has AUROC {max(area, 1 - area):.2f}; vary it in both classes")
        )
    word = _telltale(prompts, positive)
    if word is not None:
        text, accuracy = word
        message = f"the word {text!r} alone tells the classes apart in {accuracy:.0%} of prompts; a feature for that word would rank first"
        findings.append(Finding("word", accuracy, message))
    return findings


def split(prompts: Sequence[Prompt], *, test: float, positive_above: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Train and test prompts, each class in proportion; equal texts, and fillings of one template's slots, never on both sides."""
    groups: dict[Any, list[Prompt]] = {}
    for prompt in prompts:
        slots = prompt.extra.get("slots")
        key = tuple(sorted(slots.items())) if isinstance(slots, dict) and slots else " ".join(prompt.text.lower().split())
        groups.setdefault(key, []).append(prompt)
    rng = np.random.default_rng([seed, 0x7E57])
    train: list[Prompt] = []
    held: list[Prompt] = []
    for wanted in (True, False):
        members = [group for group in groups.values() if any(p.score > positive_above for p in group) is wanted]
        for place, index in enumerate(rng.permutation(len(members)).tolist()):
            (held if place < round(test * len(members)) else train).extend(members[index])
    return train, held


def _area(x: np.ndarray[Any, Any], positive: np.ndarray[Any, Any]) -> float:
    from scipy.stats import rankdata

    p = int(positive.sum())
    return float((rankdata(x)[positive].sum() - p * (p + 1) / 2) / (p * (len(x) - p)))


def _telltale(prompts: Sequence[Prompt], positive: np.ndarray[Any, Any]) -> tuple[str, float] | None:
    in_positive: Counter[str] = Counter()
    in_negative: Counter[str] = Counter()
    for prompt, is_positive in zip(prompts, positive.tolist(), strict=True):
        (in_positive if is_positive else in_negative).update(set(re.findall(r"\w+", prompt.text.lower())))
    p, n = int(positive.sum()), int((~positive).sum())
    best: tuple[str, float] | None = None
    for word in sorted(in_positive.keys() | in_negative.keys()):
        right = (in_positive[word] + n - in_negative[word]) / (p + n)
        accuracy = max(right, 1 - right)
        a, b = in_positive[word] / p, in_negative[word] / n
        if min(max(a, b), 1 - min(a, b)) >= LEAKING_SHARE and (best is None or accuracy > best[1]):
            best = (word, accuracy)
    return best
