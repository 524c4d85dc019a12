"""Make examples/prompts/truth_values.jsonl: sentences of Python's docstrings, cut where True, False or None comes next, or another word.

python examples/truth_values.py examples/prompts/truth_values.jsonl

A negative is cut after the same word as its positive ("or", "is", "not", …), so that the last token alone does not tell them apart.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from interp_tui_engine.data import builtin

POSITIVES, MATCHED, OTHERS = 120, 120, 60
WORDS = re.compile(r"\b(True|False|None)\b")
UNCLEAN = re.compile(r">>>|\.\.\.|[<>{}|\\`=_]{2}|https?:")


class Cut(NamedTuple):
    """The beginning of a sentence and the word that follows."""

    text: str
    answer: str

    @property
    def last(self) -> str:
        return self.text.split()[-1]


def sentences() -> Iterator[str]:
    """The sentences of the standard library's docstrings that are prose."""
    for split in builtin.SPLITS:
        for document in builtin.prose(split):
            for paragraph in re.split(r"\n\s*\n", document):
                for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
                    if 30 <= len(sentence) <= 200 and sentence[0].isupper() and not UNCLEAN.search(sentence):
                        yield sentence


def cuts(sentence: str) -> tuple[list[Cut], list[Cut]]:
    """Where the first truth value comes next, and where a plain word does; at least four words in."""
    words = sentence.split()
    found = WORDS.search(sentence)
    before = sentence[: found.start()].rstrip() if found else ""
    positive = [Cut(before, f" {found[0]}")] if found and sentence[found.start() - 1] == " " and len(before.split()) >= 4 else []
    clean = [Cut(" ".join(words[:i]), f" {words[i]}") for i in range(4, len(words) - 1) if re.fullmatch("[a-z]{2,12}", words[i])]
    return positive, [cut for cut in clean if not WORDS.search(cut.text)]


def main() -> None:
    rng = random.Random(0)
    positives: list[Cut] = []
    negatives: list[Cut] = []
    for sentence in dict.fromkeys(sentences()):
        found = cuts(sentence)
        positives += found[0]
        if not found[0] and found[1]:
            negatives.append(rng.choice(found[1]))
    chosen = rng.sample(positives, POSITIVES)
    rng.shuffle(negatives)
    matched: list[Cut] = []
    for positive in chosen:
        twin = next((cut for cut in negatives if cut.last == positive.last and cut not in matched), None)
        matched += [twin] if twin else []
    others = [cut for cut in negatives if cut not in matched][: OTHERS + MATCHED - len(matched)]
    rows = [(cut, 1.0) for cut in chosen] + [(cut, 0.0) for cut in (*matched, *others)]
    rng.shuffle(rows)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        for number, (cut, score) in enumerate(rows):
            row = {"prompt_id": f"t{number:03d}", "text": cut.text, "criterion_score": score, "answer": cut.answer}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(rows)} prompts: {len(chosen)} positives, {len(matched)} negatives cut after the same word, {len(others)} others")


if __name__ == "__main__":
    main()
