"""Make examples/prompts/open_brackets.jsonl: sentences of Python's docstrings, cut inside a bracket or outside of any.

python examples/open_brackets.py examples/prompts/open_brackets.jsonl

A positive ends right before its ")". Its negative has about as many words and ends on a word as well; every other one has had a bracket
that was closed again, so that neither length nor the sight of a bracket tells them apart.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from interp_tui_engine.data import builtin

PAIRS = 120
UNCLEAN = re.compile(r">>>|\.\.\.|[<>{}|\\`=_]{2}|https?:|\[|\]")
BRACKET = re.compile(r"\(([^()]{8,60}[a-z])\)(?= [a-z])")
WORD = re.compile("[a-z]{2,12}")


class Cut(NamedTuple):
    """The beginning of a sentence and what follows."""

    text: str
    answer: str

    @property
    def words(self) -> int:
        return len(self.text.split())


def sentences() -> Iterator[str]:
    """The sentences of the standard library's docstrings that are prose."""
    for split in builtin.SPLITS:
        for document in builtin.prose(split):
            for paragraph in re.split(r"\n\s*\n", document):
                for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
                    if 30 <= len(sentence) <= 250 and sentence[0].isupper() and not UNCLEAN.search(sentence):
                        yield sentence


def inside(sentence: str) -> Cut | None:
    """Cut before the end of a bracket of at least two words, three words or more into the sentence."""
    found = BRACKET.search(sentence)
    if found is None or "(" in sentence[: found.start()] or len(sentence[: found.start()].split()) < 3 or " " not in found[1]:
        return None
    return Cut(sentence[: found.end() - 1], ")")


def outside(sentence: str, *, closed: bool) -> list[Cut]:
    """Cuts between two words where no bracket is open; after one that was closed, or in a sentence that has had none."""
    words = sentence.split()
    found = []
    for place in range(4, len(words)):
        before = " ".join(words[:place])
        if WORD.fullmatch(words[place - 1]) and WORD.fullmatch(words[place]) and ("(" in before) == closed == (")" in before):
            found.append(Cut(before, f" {words[place]}"))
    return [cut for cut in found if cut.text.count("(") == cut.text.count(")")]


def unlike(cuts: Iterable[Cut]) -> list[Cut]:
    """The cuts with different texts: one text may begin several sentences."""
    return list({cut.text: cut for cut in cuts}.values())


def main() -> None:
    rng = random.Random(0)
    whole = [(sentence, inside(sentence)) for sentence in dict.fromkeys(sentences())]
    positives = rng.sample(unlike(cut for _, cut in whole if cut), PAIRS)
    pools = []
    for closed in (True, False):
        cuts = (outside(sentence, closed=closed) for sentence, cut in whole if cut is None)
        pools.append(unlike(rng.choice(found) for found in cuts if found))
    rows = []
    for number, positive in enumerate(positives):
        pool = pools[number % 2]
        negative = min(pool, key=lambda cut: abs(cut.words - positive.words))
        pool.remove(negative)
        rows += [(positive, 1.0), (negative, 0.0)]
    rng.shuffle(rows)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for number, (cut, score) in enumerate(rows):
            row = {"prompt_id": f"b{number:03d}", "text": cut.text, "criterion_score": score, "answer": cut.answer}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    lengths = [sum(cut.words for cut, score in rows if score == wanted) / PAIRS for wanted in (1.0, 0.0)]
    print(f"{len(rows)} prompts; {lengths[0]:.1f} words on average in positives, {lengths[1]:.1f} in negatives")


if __name__ == "__main__":
    main()
