"""Colours and glyphs. A theme is one TOML file, `themes/<name>.toml`, here or in the user's config folder (`interp-tui locate` says where).

    dark = true
    ascii = false            # draw with ASCII only, and with the terminal's own colours
    [colors]                 # Textual's: primary accent foreground background surface panel success warning error
    [variables]              # ours: good bad warn muted, chain-0 … chain-7, heat-negative heat-zero heat-positive

Style sheets say `$good`; code that draws asks `app.theme_variables["good"]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_tui_engine import untrusted, user_folders

if TYPE_CHECKING:
    from textual.theme import Theme

DEFAULT = "dark"
COLOURS = {"primary", "secondary", "accent", "foreground", "background", "surface", "panel", "boost", "success", "warning", "error"}
TEXT_STYLES = {"bold", "dim", "italic", "none", "reverse", "strike", "underline", "blink", "overline", "not"}
NAME = re.compile(r"[a-z][a-z0-9-]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_-]+")
OPACITY = re.compile(r"\d{1,3}(\.\d+)?%")
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
    return user_folders.config_folder()


def theme_folders() -> list[Path]:
    """Where themes are looked for; a later folder's theme replaces an earlier one's of the same name."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "themes"
    return [packaged if packaged.is_dir() else package.parent.parent / "themes", config_folder() / "themes"]


def load_themes(before: Mapping[str, LoadedTheme] | None = None) -> tuple[dict[str, LoadedTheme], list[str]]:
    """All themes by name, and a sentence on each file that is none: its theme stays as it was `before`, where it was one."""
    themes: dict[str, LoadedTheme] = {}
    problems: list[str] = []
    for folder in theme_folders():
        for path in sorted(folder.glob("*.toml")):
            try:
                themes[path.stem] = _read(path)
            except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
                problems.append(f"theme {path.name}: {error}")
                if before is not None and path.stem in before:
                    themes[path.stem] = before[path.stem]
    return themes, problems


def _read(path: Path) -> LoadedTheme:
    if FILE_NAME.fullmatch(path.stem) is None:
        raise ValueError("a theme's file name has letters, digits, - and _ only")
    table: dict[str, Any] = untrusted.read_toml(path)
    text = path.read_text(encoding="utf-8")
    unknown = set(table) - {"dark", "ascii", "colors", "variables"}
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r}")
    for name in ("colors", "variables"):
        if not isinstance(table.get(name, {}), dict):
            raise ValueError(f"[{name}] is not a table")
    colors = {str(k): str(v) for k, v in table.get("colors", {}).items()}
    variables = {str(k): str(v) for k, v in table.get("variables", {}).items()}
    if set(colors) - COLOURS:
        raise ValueError(f"unknown colour {sorted(set(colors) - COLOURS)[0]!r}; known: {', '.join(sorted(COLOURS))}")
    if "primary" not in colors:
        raise ValueError("colors.primary is missing")
    for section, values, usable in (("colors", colors, _is_colour), ("variables", variables, _is_value)):
        for name, value in values.items():
            if not usable(name, value):
                what = "text style" if name.endswith("-style") and section == "variables" else "colour"
                raise ValueError(f"line {_line_of(text, section, name)}: {section}.{name}: {value!r} is no {what}")
    return LoadedTheme(path.stem, bool(table.get("dark", True)), bool(table.get("ascii", False)), colors, variables)


def _is_colour(name: str, value: str) -> bool:
    from textual.color import Color, ColorParseError

    try:
        return Color.parse(value).a >= 0
    except ColorParseError:
        return False


def _is_value(name: str, value: str) -> bool:
    """Whether a style sheet can use the value: a text style, or a colour, with an opacity where only style sheets read the name."""
    if NAME.fullmatch(name) is None:
        return False
    if name.endswith("-style"):
        return bool(value.split()) and set(value.split()) <= TEXT_STYLES
    colour, _, opacity = value.rpartition(" ")
    if name not in FALLBACKS and OPACITY.fullmatch(opacity):
        automatic = colour.strip() == "auto" and name.endswith("foreground")
        return automatic or _is_colour(name, colour.strip())
    return _is_colour(name, value)


def _line_of(text: str, section: str, name: str) -> int | str:
    """The line of the file that sets `name` in its `section`; a question mark where it is written in a way this does not look for."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if (head := re.match(r"\s*\[\s*([\w-]+)\s*\]", line)) is not None:
            here = head[1]
        elif here == section and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", line):
            return number
    return "?"


def first_theme(themes: dict[str, LoadedTheme], remembered: str | None) -> str:
    """The theme to start with: ascii where the terminal wants no colour or cannot show more, else the last used, else the default."""
    encoding = (os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "").upper()
    poor = os.environ.get("TERM") in {"dumb", "linux", "vt100"} or encoding in {"C", "POSIX"}
    if ASCII in themes and (os.environ.get("NO_COLOR") or (poor and remembered is None)):
        return ASCII
    return remembered if remembered in themes else DEFAULT
