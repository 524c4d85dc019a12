"""From a feature to what other runs say of the same model: how its layer's parts respond to data, and what its texts move with.

Headless; reads result.json of finished runs beside the feature's own, so call it from a thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp_tui_engine.payload import read
from interp_tui_engine.results.bif import BIFResult
from interp_tui_engine.results.inspect import FeatureCard
from interp_tui_engine.results.susceptibilities import SusceptibilitiesResult
from interp_tui_engine.runfolder import RunFolder, find_runs

from ..text.numbers import number, with_error
from ..text.sanitise import clean
from . import session

NEWEST = 500
"""Runs that are looked at, newest first."""
LINES = 4
LEAST_TEXT, SHOWN_TEXT = 12, 72
"""Fewest characters by which two texts are taken for the same; characters of a text that are shown."""


@dataclass(frozen=True)
class Link:
    """One run that says something of the feature, and what."""

    folder: RunFolder
    title: str
    lines: tuple[str, ...]


def links(run: RunFolder, card: FeatureCard) -> list[Link]:
    """The newest susceptibilities run with parts of the feature's layer, and the newest influence run with one of its texts."""
    texts = _texts(card)
    by_key: dict[str, Link] = {}
    for folder in _neighbours(run):
        if len(by_key) == 2:
            break
        status = folder.status()
        if status.kind not in ("susceptibilities", "bif") or status.kind in by_key or status.state != "done":
            continue
        asked, result = session.tables(folder).get("model"), folder.result() or {}
        if not isinstance(asked, Mapping) or asked.get("source") != card.model:
            continue
        lines = _responses(result, card.layer) if status.kind == "susceptibilities" else _influences(result, texts)
        if lines:
            about = "Parts of its layer respond to" if status.kind == "susceptibilities" else "Its texts move with"
            revision = f" at {clean(str(asked['revision']), limit=30)}" if asked.get("revision") else ""
            by_key[status.kind] = Link(folder, f"{about} ({clean(folder.path.name, limit=80)}{revision})", tuple(lines))
    return list(by_key.values())


def _neighbours(run: RunFolder) -> Iterator[RunFolder]:
    """Finished runs beside this one, and, where it is a step or a point of another, beside that one."""
    roots = [run.path.parent]
    if run.path.parent.name in ("steps", "points"):
        roots.append(run.path.parent.parent.parent)
    for root in roots:
        yield from (folder for folder in find_runs(root)[:NEWEST] if folder.path != run.path)


def _responses(result: Mapping[str, Any], layer: int | None) -> list[str]:
    """Susceptibilities of the layer's parts, those farthest from 0 in their own errors first."""
    stored = read(SusceptibilitiesResult, result)
    sized: list[tuple[float, str]] = []
    for part, by_data in stored.mean.items():
        if not re.match(rf"l{layer}(?!\d)", part, re.IGNORECASE):
            continue
        for data, mean in by_data.items():
            error = stored.std_error.get(part, {}).get(data)
            if mean is not None and error:
                sentence = f"{clean(part, limit=30)} to {clean(data, limit=40)}: {with_error(mean, error)}"
                sized.append((abs(mean) / error, sentence))
    return [sentence for _, sentence in sorted(sized, key=lambda sized_sentence: -sized_sentence[0])[:LINES]]


def _influences(result: Mapping[str, Any], texts: Sequence[str]) -> list[str]:
    """The sequences that one of the texts stands in, each with what it moves with most."""
    names: dict[str, None] = {}
    for pair in read(BIFResult, result).top_pairs:
        sides = [" ".join(text.split()) for text in (pair.text_1, pair.text_2)]
        for here, there in (sides, sides[::-1]):
            if any(text in here for text in texts):
                shown = clean(there, limit=SHOWN_TEXT)
                names.setdefault(f"{number(pair.value, 3)}  {shown}")
    return list(names)[:LINES]


def _texts(card: FeatureCard) -> list[str]:
    """What the feature fires on, as far as it can be told apart from other texts."""
    rows = card.metadata.activating if card.metadata is not None else ()
    texts = [" ".join(row.text.split()) for row in rows]
    return [text for text in texts if len(text) >= LEAST_TEXT]
