"""Runs that were going on when last looked at, so that the end of one can be told wherever the user is by then. No Textual here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from interp_tui_engine.runfolder import ACTIVE, RunFolder, Status

from ..terminal import themes
from ..text.sanitise import clean
from .headlines import answer


@dataclass
class Endings:
    """The runs to look at, by path, and those of them that were seen to be going on."""

    _watched: dict[Path, RunFolder] = field(default_factory=dict)
    _seen: set[Path] = field(default_factory=set)

    def expect(self, folders: Iterable[RunFolder]) -> None:
        """Look out for the end of these runs."""
        self._watched.update((folder.path, folder) for folder in folders)

    def look(self) -> list[tuple[RunFolder, Status]]:
        """The runs that ended since the last look. Reads a status each, so call it from a thread."""
        ended = []
        for path, folder in list(self._watched.items()):
            status = folder.status() if folder.manifest_path.exists() else None
            if status is not None and status.state in ACTIVE:
                self._seen.add(path)
                continue
            self._watched.pop(path, None)
            if status is not None and path in self._seen:
                ended.append((folder, status))
            self._seen.discard(path)
        return ended


def said(status: Status, *, ascii: bool) -> tuple[str, str]:
    """A title and a line on how a run ended."""
    title = clean(f"{themes.glyph(status.state, ascii)} {status.kind} {status.name}: {status.state}", limit=80)
    reason = "" if status.state == "done" else str(status.exit.get("reason") or "")
    return title, clean(reason, limit=200) or answer(status.kind, status.headline, ascii=ascii)


def run_command(command: str, folder: RunFolder, status: Status) -> None:
    """Give the user's own command to the shell, and go on. What the run says goes into the environment, where nothing reads it as code."""
    told = {
        "INTERP_TUI_RUN": str(folder.path),
        "INTERP_TUI_KIND": clean(status.kind, limit=80),
        "INTERP_TUI_NAME": clean(status.name, limit=200),
        "INTERP_TUI_STATE": status.state,
        "INTERP_TUI_HEADLINE": answer(status.kind, status.headline, ascii=True),
    }
    quiet = subprocess.DEVNULL
    with suppress(OSError, ValueError):  # a path with what no environment can hold
        subprocess.Popen(command, shell=True, env=os.environ | told, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
