"""Where each value of a resolved manifest came from: its file, `--set`, or a default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interp_tui_engine.errors import UserError
from interp_tui_engine.manifest import read_text
from interp_tui_engine.toml_lines import KeyPath, key_lines, split_key


def marked(toml: str, path: Path, overrides: Sequence[str]) -> str:
    """The resolved manifest `toml` with a comment on every value that its file at `path` does not give; still the same TOML."""
    given = set(key_lines(read_text(path / "manifest.toml" if path.is_dir() else path)))
    changed: set[KeyPath] = {split_key(override.partition("=")[0].strip()) for override in overrides}
    lines = toml.splitlines()
    for key, line in key_lines(toml).items():
        text = lines[line - 1]
        if text.startswith("[") or "=" not in text or "  # " in text or not _is_named(key, text):
            continue
        if origin := _origin(key, given, changed):
            lines[line - 1] = f"{text}  # {origin}"
    return "\n".join([f"# values without a mark stand in {path}", *lines]) + "\n"


def _origin(key: KeyPath, given: set[KeyPath], changed: set[KeyPath]) -> str:
    if any(key[: len(path)] == path for path in changed):
        return "--set"
    return "" if key in given else "default"


def _is_named(key: KeyPath, text: str) -> bool:
    """Whether the line is that of the key itself, not one of an array that it is an entry of."""
    try:
        return split_key(text.partition("=")[0].strip())[-1:] == key[-1:]
    except (ValueError, UserError):
        return False
