"""Several runs as one page, like a page of a lab notebook: what each asked and answered, how they differ, and how to make each again."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from interp_tui_engine.runfolder import RunFolder

from ..runs import labels, meaning
from ..runs.comparison import ComparedKey, compare
from ..text.sanitise import clean
from .html import document, sections, title_of

MOST_KEYS = 60
"""Settings that are shown beside each other."""


def notebook(folders: Sequence[RunFolder], title: str) -> str:
    """The page's text, the runs in the order given. Raises UserError where a manifest cannot be read."""
    sides = [meaning.side(folder) for folder in folders]
    parts = [f"<h1>{escape(title)}</h1>", _contents(sides), *(f"<p>{escape(clean(sentence))}</p>" for sentence in _between(sides))]
    parts.append(_settings(folders) if len(folders) > 1 else "")
    for number, folder in enumerate(folders, 1):
        parts.append(f'<h2 id="run-{number}">{number}. {escape(title_of(folder))}</h2>')
        parts.append(_labels(folder))
        parts += sections(folder)
    return document(title, [part for part in parts if part])


def _contents(sides: Sequence[meaning.ComparedRun]) -> str:
    rows = [
        f'<tr><td><a href="#run-{number}">{number}</a></td><td>{escape(clean(side.status.kind, limit=40))}</td><td>{escape(side.name)}</td>'
        f"<td><b>{escape(meaning.headline(side, ascii=False))}</b></td><td><code>{escape(clean(side.folder.path.name))}</code></td></tr>"
        for number, side in enumerate(sides, 1)
    ]
    return f"<table><tr><th></th><th>kind</th><th>name</th><th>answer</th><th>run</th></tr>{''.join(rows)}</table>"


def _between(sides: Sequence[meaning.ComparedRun]) -> list[str]:
    """How each run's answer differs from the first's, and what keeps them from being compared."""
    sentences = []
    for number, side in enumerate(sides[1:], 2):
        for difference in meaning.differences(sides[0], side)[:1]:
            apart = "" if difference.errors is None else f", {difference.errors:.1f} standard errors apart"
            sentences.append(f"{number} less 1: {difference.name} {difference.change}{apart}")
    return [*sentences, *meaning.warnings(sides)] if len(sides) > 1 else []


def _settings(folders: Sequence[RunFolder]) -> str:
    """The settings that differ, a column a run."""
    lines = [line for line in compare(*folders) if line.part == "manifest" and line.differs and line.key != "name"]
    if not lines:
        return ""
    head = "".join(f"<th>{number}</th>" for number in range(1, len(folders) + 1))
    more = f"<p>and {len(lines) - MOST_KEYS} more</p>" if len(lines) > MOST_KEYS else ""
    return f"<table><tr><th>what was asked differently</th>{head}</tr>{''.join(map(_setting, lines[:MOST_KEYS]))}</table>{more}"


def _setting(line: ComparedKey) -> str:
    cells = "".join(f"<td><code>{escape(clean(value, limit=120))}</code></td>" for value in line.values)
    return f"<tr><td>{escape(clean(line.key, limit=80))}</td>{cells}</tr>"


def _labels(folder: RunFolder) -> str:
    kept = labels.read(folder)
    marks = [*(f"#{tag}" for tag in kept.tags), *([kept.note] if kept.note else [])]
    return f"<p><em>{escape(clean(' '.join(marks)))}</em></p>" if marks else ""
