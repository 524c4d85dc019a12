"""What the app keeps between sessions, and the user's own keys.

state.json     written by the app: the theme last chosen, the filters last used, those that have a name
config.toml    written by the user: [keys] binding id = key, as in  runs.stop = "ctrl+x"  ('?' lists the ids)
               [done] what happens when a run ends: bell = false keeps the terminal quiet, command = "…" is given to the shell with
               INTERP_TUI_RUN (the folder), INTERP_TUI_KIND, INTERP_TUI_NAME, INTERP_TUI_STATE and INTERP_TUI_HEADLINE set
               [pictures] whether figures are drawn as pictures: show, over_ssh (see pictures.py)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from interp_tui_engine import atomic, untrusted

from .pictures import CHOICES
from .themes import config_folder

FILTERS = 20
"""Filters that are kept of those last used."""
TABLES: dict[str, dict[str, type]] = {"keys": {}, "done": {"bell": bool, "command": str}, "pictures": {"show": str, "over_ssh": bool}}
"""The tables of config.toml, and the keys of each; [keys] has those of the bindings."""


@dataclass(frozen=True)
class Config:
    """What was read from the config folder; `problems` says what in it could not be used."""

    theme: str | None = None
    filters: tuple[str, ...] = ()
    """The filters last used, the newest first."""
    named_filters: Mapping[str, str] = field(default_factory=dict)
    """The filters that the user keeps under a name."""
    keys: dict[str, str] = field(default_factory=dict)
    bell: bool = True
    """Whether the terminal rings when a run ends."""
    command: str = ""
    """What the shell is given when a run ends."""
    show: str = "off"
    """How figures are drawn as pictures: one of `pictures.CHOICES`."""
    over_ssh: bool = False
    problems: tuple[str, ...] = ()


def load() -> Config:
    """The user's configuration; what cannot be read has its default and is named in `problems`."""
    folder = config_folder()
    state = atomic.read_json(folder / "state.json")
    kept = state if isinstance(state, dict) else {}
    theme, filters = kept.get("theme"), kept.get("filters")
    filters = tuple(text for text in filters if isinstance(text, str))[:FILTERS] if isinstance(filters, list) else ()
    named = kept.get("named_filters")
    named = {str(name): text for name, text in named.items() if isinstance(text, str)} if isinstance(named, dict) else {}
    problems: list[str] = []
    table: dict[str, Any] = {}
    try:
        table = untrusted.read_toml(folder / "config.toml")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        problems.append(f"config.toml: {error}")
    for name, value in table.items():
        if name not in TABLES or not isinstance(value, dict):
            problems.append(f"config.toml: [{name}] is not one of {_listed(TABLES)}" + _guess(name, TABLES))
    values = {**_values("done", table, problems), **_values("pictures", table, problems)}
    if (show := values.get("show", "off")) not in CHOICES:
        problems.append(f"config.toml: pictures.show: {show!r} is not one of {', '.join(CHOICES)}" + _guess(show, CHOICES))
        del values["show"]
    keys = part if isinstance(part := table.get("keys"), dict) else {}
    chosen = theme if isinstance(theme, str) else None
    return Config(chosen, filters, named, dict(_dotted(keys)), problems=tuple(problems), **values)


def _values(name: str, table: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The keys of one table that can be used; of the others `problems` says why not."""
    written, values = table.get(name), {}
    for key, value in written.items() if isinstance(written, dict) else ():
        wanted = TABLES[name].get(key)
        if wanted is None:
            problems.append(f"config.toml: {name}.{key}: no such key" + _guess(key, TABLES[name]))
        elif not isinstance(value, wanted):
            problems.append(f"config.toml: {name}.{key}: {value!r} is not {'text' if wanted is str else 'true or false'}")
        else:
            values[key] = value
    return values


def _listed(known: Iterable[str]) -> str:
    return ", ".join(f"[{name}]" for name in known)


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _dotted(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """[keys] written as `runs.stop = …` reads as a table in a table; binding ids are dotted."""
    dotted: list[tuple[str, str]] = []
    for key, value in table.items():
        dotted += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", str(value))]
    return dotted


def remember_theme(name: str) -> None:
    """Start with this theme next time. A config folder that cannot be written costs only that."""
    _remember("theme", name)


def remember_filter(text: str) -> tuple[str, ...]:
    """Keep a filter as the one last used; returns all that are kept, the newest first."""
    kept = tuple(dict.fromkeys((text, *load().filters)))[:FILTERS]
    _remember("filters", list(kept))
    return kept


def name_filter(name: str, text: str) -> dict[str, str]:
    """Keep a filter under a name, in place of the one that had it; an empty one is forgotten. Returns all that have names, by name."""
    filters = {**load().named_filters, name: text}
    kept = {name: filters[name] for name in sorted(filters) if filters[name]}
    _remember("named_filters", kept)
    return kept


def _remember(name: str, value: Any) -> None:
    folder = config_folder()
    state = atomic.read_json(folder / "state.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "state.json", {**(state if isinstance(state, dict) else {}), name: value}, durable=False)
    except OSError:
        return
