"""A label for a feature that nobody has named, from the tokens it fires on, the words its texts share and the tokens it promotes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .card_example import CardExample

MOST_TOKENS, MOST_PROMOTED = 3, 4
_WORD = re.compile(r"[^\W\d_]{2,}")


def own_label(examples: Sequence[CardExample], about: Mapping[str, Any]) -> str:
    """`on “ is”, “ in” → Lima, Cairo`: what it fires on, then the tokens it promotes; empty where neither is known.

    Fires on: the strongest token of each example, the commonest first, where at least half of the examples have one of those named. Where
    they share none, or no tokens are known, the words that more than half of the examples' texts have in common.
    """
    parts = []
    peaks = [
        example.tokens[max(range(len(example.tokens)), key=lambda i: abs(example.values[i]))] for example in examples if example.tokens
    ]
    common = [(token, count) for token, count in Counter(token.strip() for token in peaks).most_common(MOST_TOKENS) if token]
    if peaks and sum(count for _, count in common) * 2 >= len(peaks) and common[0][1] > 1:
        parts.append("on " + ", ".join(f"“{token}”" for token, count in common if count > 1))
    else:
        words = shared_words([example.text for example in examples])
        parts += ["with " + ", ".join(words)] if words else []
    against = sum(example.activation for example in examples) < 0  # it fires below 0: what it then promotes is what it suppresses above
    promoted = [
        text for token in about.get("suppresses" if against else "promotes") or () if (text := str(token).strip()) and "\ufffd" not in text
    ]
    if promoted:
        parts.append("→ " + ", ".join(dict.fromkeys(promoted[:MOST_PROMOTED])))
    return " ".join(parts)


def shared_words(texts: Sequence[str]) -> list[str]:
    """The longest words that more than half of several texts have in common, at most three."""
    distinct = [set(_WORD.findall(text.lower())) for text in dict.fromkeys(texts)]
    if len(distinct) < 3:
        return []
    counts = Counter(word for words in distinct for word in words)
    shared = [word for word, count in counts.items() if count * 2 > len(distinct) and len(word) > 3]
    return sorted(shared, key=lambda word: (-counts[word], -len(word), word))[:MOST_TOKENS]
