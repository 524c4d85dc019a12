"""What the user keeps of a run for themselves: tags, a note, and whether it is put away. A file of its own in the run's folder.

`labels.json` is written by clients only and read by nothing that runs: it changes no number, goes where the folder goes, may be deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from interp_tui_engine import atomic
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

from ..text.sanitise import clean

FILE = "labels.json"
TAG = re.compile(r"[\w.:/+-]+")
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 2000


@dataclass(frozen=True)
class Labels:
    """Tags in the order they were given, without repeats; a note of one line or some; archived runs are listed only when asked for."""

    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False


NONE = Labels()


def path_in(folder: Path) -> Path:
    """The file of a run's labels."""
    return folder / FILE


def read(folder: RunFolder) -> Labels:
    """What is kept of a run; a file that cannot be read keeps nothing."""
    record = atomic.read_json(path_in(folder.path))
    if not isinstance(record, dict):
        return NONE
    tags, note = record.get("tags"), record.get("note")
    words = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return Labels(_tags(words), clean(note, limit=LONGEST_NOTE) if isinstance(note, str) else "", record.get("archived") is True)


def _tags(words: Iterable[str]) -> tuple[str, ...]:
    tags = dict.fromkeys(clean(word.strip().lstrip("#"), limit=LONGEST_TAG) for word in words)
    return tuple(tag for tag in tags if tag)[:MOST_TAGS]


def typed_tags(text: str) -> tuple[str, ...]:
    """The tags in a line: words between commas or spaces. Raises UserError for one with other signs than letters, digits and . : / + - _"""
    words = [word.lstrip("#") for word in re.split(r"[,\s]+", text) if word.strip("#")]
    wrong = next((word for word in words if not TAG.fullmatch(word)), None)
    if wrong is not None:
        raise UserError(f"{clean(wrong, limit=40)!r} is no tag", "letters, digits and . : / + - _ make a tag, such as paper or seed-2")
    return _tags(words)


def write(folder: RunFolder, labels: Labels) -> None:
    """Keep these. Raises UserError where the folder cannot be written."""
    record = {"tags": list(labels.tags), "note": labels.note, "archived": labels.archived}
    path = path_in(folder.path)
    try:
        if labels == NONE:
            path.unlink(missing_ok=True)
        else:
            atomic.write_json(path, record, durable=False)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def archive(folder: RunFolder, away: bool) -> None:
    """Put a run away, or take it back. Raises UserError as `write` does."""
    write(folder, replace(read(folder), archived=away))
