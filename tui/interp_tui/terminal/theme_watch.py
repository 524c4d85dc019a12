"""Whether the user's own themes have changed since the last look. No Textual here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import themes


class ThemeWatch:
    """Remembers the files of the user's theme folder and when each was written."""

    def __init__(self) -> None:
        self._known = _stamps()

    def changed(self) -> bool:
        """Whether a theme is new, gone or written anew. Reads a folder, so call it from a thread."""
        before, self._known = self._known, _stamps()
        return before != self._known


def _stamps() -> Mapping[Path, int]:
    stamps = {}
    for path in (themes.config_folder() / "themes").glob("*.toml"):
        try:
            stamps[path] = path.stat().st_mtime_ns
        except OSError:  # removed meanwhile
            continue
    return stamps
