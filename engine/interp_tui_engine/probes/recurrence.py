"""Which labelled texts are not independent of each other: copies, and templates filled with subjects that recur. Torch-free.

A probe is to be scored on rows that share nothing with its training rows but the label. Where the label hangs on a subject ("France") that
several templates mention, or on a template that many subjects fill, rows of one subject (or template) have to stay on one side of a fold:
across it, a probe that knows subjects by heart would look like one that reads the label (Hewitt & Liang 2019, arXiv 1909.03368).

A template is what remains of texts that are equal but for one stretch of at most LONGEST words; the stretch is its subject.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .classifiers import Labels

LONGEST = 4
"""Words of a subject, at most."""
WORDS = 60
"""Words of a text that are looked at."""
MOST = 20_000
"""Texts among which templates are looked for."""
FEWEST = 3
"""Different subjects that make a template of texts that are alike."""
PURE = 0.95
"""Share of rows that a label must be right for to hang on subject or template."""


@dataclass(frozen=True)
class Recurrence:
    """`groups` numbers what has to stay on one side of a fold; `notes` says in words what was found."""

    groups: Labels
    notes: list[str]


class _Reading(NamedTuple):
    """One text as a template and its subject."""

    template: Hashable
    subject: str
    text: str


def recurrence(texts: Sequence[str], y: Labels, given: Labels | None) -> Recurrence:
    """The groups of labelled texts: those given, or else what recurs; copies of a text are always together."""
    copies = _numbered([" ".join(text.split()).casefold() for text in texts])
    notes = _copies(texts, y, copies)
    readings = _readings(texts) if len(texts) <= MOST else [None] * len(texts)
    subjects = _keys([None if reading is None else reading.subject for reading in readings])
    templates = _keys([None if reading is None else reading.template for reading in readings])
    recurs, by_template = _share_that_recurs(subjects), _hangs_on(templates, y)
    by_subject = recurs >= 0.5 and _hangs_on(subjects, y)
    example = next((reading for reading in readings if reading is not None), None)
    if given is not None:
        if by_subject and (crossing := _across(subjects, given)) is not None:
            name = next(reading.subject for reading, s in zip(readings, subjects, strict=True) if reading is not None and s == crossing)
            notes.append(f"{name!r:.60} stands in several groups, and the label hangs on such subjects: should each be one group?")
        return Recurrence(_joined(given, copies), notes)
    if example is None or not (by_subject or by_template or recurs >= 0.5):
        return Recurrence(copies, notes)
    what = f"the texts are {len(set(templates))} templates of {len(set(subjects))} subjects, such as {example.text!r:.70} and"
    what += f" {example.subject!r:.40}"
    if by_template and not by_subject:
        few = min(len(set(templates[y == label].tolist())) for label in np.unique(y))
        if few < 2:
            notes.append(f"{what}: the label hangs on the template alone, so that a probe may read the template and nothing else")
            return Recurrence(copies, notes)
        notes.append(f"{what}: the label hangs on the template, and texts of one template are kept together; give groups to say otherwise")
        return Recurrence(_joined(templates, copies), notes)
    notes.append(f"{what}: texts of one subject are kept together in cross-validation; give groups to say otherwise")
    return Recurrence(_joined(subjects, copies), notes)


def _copies(texts: Sequence[str], y: Labels, copies: Labels) -> list[str]:
    counts = np.bincount(copies)
    if counts.max() < 2:
        return []
    most = int(counts.argmax())
    text = texts[int(np.flatnonzero(copies == most)[0])]
    notes = [
        f"{int((counts > 1).sum())} texts stand there more than once, such as {text!r:.60} ({counts[most]} times): copies are one group"
    ]
    torn = [group for group in np.flatnonzero(counts > 1) if len(np.unique(y[copies == group])) > 1]
    if torn:
        text = texts[int(np.flatnonzero(copies == torn[0])[0])]
        notes.append(f"{len(torn)} of them have different labels on different copies, such as {text!r:.60}")
    return notes


def _readings(texts: Sequence[str]) -> list[_Reading | None]:
    """Each text as template and subject; None for a text that is like no other.

    Of all ways to read it, a subject that stands in several templates goes before one that does not; then the one whose templates and
    subjects are most; then the template that most subjects fill ("The capital of …", not "The … of France is"), and the shortest subject.
    """
    rows = [re.findall(r"\w+|[^\w\s]", text)[:WORDS] for text in texts]
    spans = [
        [
            (start, stop)
            for start in range(len(row))
            for stop in range(start + 1, min(len(row), start + LONGEST) + 1)
            if stop - start < len(row)
        ]
        for row in rows
    ]
    subjects_of: dict[int, set[int]] = defaultdict(set)
    for row, own in zip(rows, spans, strict=True):
        for span in own:
            subjects_of[_template(row, span)].add(_subject(row, span))
    templates_of: dict[int, set[int]] = defaultdict(set)
    for template, subjects in subjects_of.items():
        if len(subjects) >= FEWEST:
            for subject in subjects:
                templates_of[subject].add(template)
    readings: list[_Reading | None] = []
    for row, own in zip(rows, spans, strict=True):
        best: tuple[Any, ...] | None = None
        for span in own:
            template, subject = _template(row, span), _subject(row, span)
            fill, contexts = len(subjects_of[template]), len(templates_of[subject])
            if fill >= FEWEST:
                # between equals the earlier one: what decides must be the same in every process, which hashes are not
                best = max(best or (), (contexts > 1, contexts * fill, fill, span[0] - span[1], -span[0], span))
        if best is None:
            readings.append(None)
            continue
        start, stop = best[-1]
        readings.append(_Reading(_template(row, best[-1]), " ".join(row[start:stop]), " ".join([*row[:start], "…", *row[stop:]])))
    return readings


def _template(row: Sequence[str], span: tuple[int, int]) -> int:
    return hash((tuple(row[: span[0]]), tuple(row[span[1] :])))


def _subject(row: Sequence[str], span: tuple[int, int]) -> int:
    return hash(tuple(row[span[0] : span[1]]))


def _keys(names: Sequence[Hashable | None]) -> Labels:
    """Numbers of equal names; a text without one is alone."""
    return _numbered([("alone", row) if name is None else name for row, name in enumerate(names)])


def _numbered(names: Sequence[Hashable]) -> Labels:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _share_that_recurs(keys: Labels) -> float:
    return float((np.bincount(keys)[keys] > 1).mean())


def _hangs_on(keys: Labels, y: Labels) -> bool:
    """Whether a key of several rows has, nearly always, one label, and which rows hold a key is not all that decides it."""
    several = np.bincount(keys)[keys] > 1
    if len(np.unique(keys[several])) < 2 or several.mean() < 0.5:
        return False
    right = 0
    for key in np.unique(keys[several]):
        right += int(np.bincount(y[keys == key]).max())
    return right >= PURE * int(several.sum())


def _across(subjects: Labels, given: Labels) -> int | None:
    for subject in np.flatnonzero(np.bincount(subjects) > 1).tolist():
        if len(np.unique(given[subjects == subject])) > 1:
            return int(subject)
    return None


def _joined(left: Labels, right: Labels) -> Labels:
    """The finest groups that split neither: connected through rows that share either number."""
    parent = list(range(len(left)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for keys in (left, right):
        first: dict[int, int] = {}
        for row, key in enumerate(keys.tolist()):
            parent[root(row)] = root(first.setdefault(key, row))
    return _numbered([root(row) for row in range(len(left))])
