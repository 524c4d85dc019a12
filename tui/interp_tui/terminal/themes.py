"""Colours and glyphs. A theme is one TOML file, `themes/<name>.toml`, here or in the user's config folder (`interp-tui locate` says where).

    dark = true
    ascii = false            # draw with ASCII only, and with the terminal's own colours
    [colors]                 # Textual's: primary accent foreground background surface panel success warning error
    [variables]              # ours: good bad warn muted, chain-0 … chain-7, heat-negative heat-zero heat-positive

Style sheets say `$good`; code that draws asks `app.theme_variables["good"]`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path

from interp_tui_engine import untrusted

if TYPE_CHECKING:
    from textual.theme import Theme

DEFAULT = "dark"
ASCII = "ascii"

GLYPHS = {
    "running": "●",
    "paused": "◐",
    "stopping": "◑",
    "done": "✓",
    "failed": "✗",
    "crashed": "⚡",
    "interrupted": "■",
    "queued": "◌",
}
ASCII_GLYPHS = {
    "running": "*",
    "paused": "=",
    "stopping": "-",
    "done": "+",
    "failed": "x",
    "crashed": "!",
    "interrupted": "#",
    "queued": "o",
}
STATE_COLOURS = {
    "running": "accent",
    "paused": "warn",
    "stopping": "warn",
    "done": "good",
    "failed": "bad",
    "crashed": "bad",
    "interrupted": "warn",
    "queued": "muted",
}
FALLBACKS = {
    "good": "#7bc275",
    "bad": "#f0716d",
    "warn": "#e0af4c",
    "muted": "#7d8896",
    "rule": "#2c3643",
    "ansi-background": "ansi_black",
    "ansi-foreground": "ansi_white",
    "heat-negative": "#e8743b",
    "heat-zero": "#1b222b",
    "heat-positive": "#4aa3f0",
    "chain-0": "#6cb6ff",
    "chain-1": "#f2a65a",
    "chain-2": "#7bc275",
    "chain-3": "#e07be0",
    "chain-4": "#e6d35c",
    "chain-5": "#5fd3c8",
    "chain-6": "#f0716d",
    "chain-7": "#a99bf2",
}
"""For a user's theme that leaves some out; every name that a style sheet of ours uses is here."""


@dataclass(frozen=True)
class LoadedTheme:
    """A theme as read from its file."""

    name: str
    dark: bool
    ascii: bool
    colors: dict[str, str]
    variables: dict[str, str]

    def to_textual(self) -> Theme:
        from textual.theme import Theme

        return Theme(name=self.name, dark=self.dark, ansi=self.ascii, variables=self.variables, **self.colors)  # type: ignore[arg-type]


def glyph(state: str, ascii: bool = False) -> str:
    """The sign of a run's state; one cell wide, except ⚡, which terminals draw over two."""
    return (ASCII_GLYPHS if ascii else GLYPHS).get(state, "?")


def colour_name(state: str) -> str:
    """The theme variable that a run's state is drawn in."""
    return STATE_COLOURS.get(state, "muted")


def config_folder() -> Path:
    """Where the user's themes, keys and last choices live: $INTERP_TUI_CONFIG, else the platform's own place."""
    given = os.environ.get("INTERP_TUI_CONFIG")
    return Path(given).expanduser() if given else user_config_path("interp-tui")


def theme_folders() -> list[Path]:
    """Where themes are looked for; a later folder's theme replaces an earlier one's of the same name."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "themes"
    return [packaged if packaged.is_dir() else package.parent.parent / "themes", config_folder() / "themes"]


def load_themes() -> tuple[dict[str, LoadedTheme], list[str]]:
    """All themes by name, and a sentence on each file that is none."""
    themes: dict[str, LoadedTheme] = {}
    problems: list[str] = []
    for folder in theme_folders():
        for path in sorted(folder.glob("*.toml")):
            try:
                themes[path.stem] = _read(path)
            except (OSError, ValueError) as error:
                problems.append(f"theme {path.name}: {error}")
    return themes, problems


def _read(path: Path) -> LoadedTheme:
    from textual.color import Color, ColorParseError

    table: dict[str, Any] = untrusted.read_toml(path)
    unknown = set(table) - {"dark", "ascii", "colors", "variables"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    colors = {str(k): str(v) for k, v in table.get("colors", {}).items()}
    variables = {str(k): str(v) for k, v in table.get("variables", {}).items()}
    known = {"primary", "secondary", "accent", "foreground", "background", "surface", "panel", "boost", "success", "warning", "error"}
    if set(colors) - known:
        raise ValueError(f"unknown colour {sorted(set(colors) - known)[0]!r}; known: {', '.join(sorted(known))}")
    if "primary" not in colors:
        raise ValueError("colors.primary is missing")
    for name, value in colors.items():
        try:
            Color.parse(value)
        except ColorParseError:
            raise ValueError(f"colors.{name}: {value!r} is no colour") from None
    return LoadedTheme(path.stem, bool(table.get("dark", True)), bool(table.get("ascii", False)), colors, variables)


def first_theme(themes: dict[str, LoadedTheme], remembered: str | None) -> str:
    """The theme to start with: ascii where the terminal wants no colour or cannot show more, else the last used, else the default."""
    encoding = (os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "").upper()
    poor = os.environ.get("TERM") in {"dumb", "linux", "vt100"} or encoding in {"C", "POSIX"}
    if ASCII in themes and (os.environ.get("NO_COLOR") or (poor and remembered is None)):
        return ASCII
    return remembered if remembered in themes else DEFAULT
