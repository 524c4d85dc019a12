"""What the app keeps between sessions, and the user's own keys.

state.json     written by the app: the theme last chosen
config.toml    written by the user: [keys] binding id = key, as in  runs.stop = "ctrl+x"  ('?' lists the ids)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tomli

from interp_tui_engine import atomic

from .themes import config_folder


@dataclass(frozen=True)
class Config:
    """What was read from the config folder; `problems` says what in it could not be used."""

    theme: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def load() -> Config:
    folder = config_folder()
    state = atomic.read_json(folder / "state.json")
    theme = state.get("theme") if isinstance(state, dict) else None
    problems: list[str] = []
    table: dict[str, Any] = {}
    try:
        table = tomli.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        problems.append(f"config.toml: {error}")
    keys = table.get("keys", {})
    return Config(theme if isinstance(theme, str) else None, dict(_dotted(keys) if isinstance(keys, dict) else []), tuple(problems))


def _dotted(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """[keys] written as `runs.stop = …` reads as a table in a table; binding ids are dotted."""
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        found += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", str(value))]
    return found


def remember_theme(name: str) -> None:
    """Start with this theme next time. A config folder that cannot be written costs only that."""
    folder = config_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "state.json", {"theme": name}, durable=False)
    except OSError:
        return
