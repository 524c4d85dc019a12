"""Every key that the app binds, by the id under which [keys] of config.toml changes it: to check that table, and for the key reference."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

PLACES = ("screens", "views", "widgets")


@dataclass(frozen=True)
class Bound:
    """One binding: its id, the keys it has unless the user changes them, what it does, and the class that has it, and its folder."""

    id: str
    keys: str
    does: str
    where: str
    place: str = ""


@cache
def bound(app: type) -> Mapping[str, Bound]:
    """All bindings with an id, those of `app` too. Imports every screen, view and widget, so call it from a thread."""
    bound: dict[str, Bound] = {}
    for owner in (app, *_owners()):
        for binding in vars(owner).get("BINDINGS", ()):
            if getattr(binding, "id", None):
                bound.setdefault(binding.id, Bound(binding.id, binding.key, binding.description, owner.__name__, _place(owner)))
    return bound


def _place(owner: type) -> str:
    return next((place for place in PLACES if f".{place}." in owner.__module__), "")


def _owners() -> Iterator[type]:
    for place in PLACES:
        folder = importlib.import_module(f"interp_tui.{place}")
        for file in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}."):
            module = importlib.import_module(file.name)
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == module.__name__:
                    yield value


def problems(keys: Mapping[str, str], app: type) -> list[str]:
    """A sentence on each entry of [keys] that changes nothing: an id that there is not, or a key that no terminal sends."""
    known = bound(app)
    problems = []
    for name, key in keys.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else "; '?' in the app lists the ids"
            problems.append(f"config.toml: keys.{name}: no key has this id{guess}")
        problems += [f"config.toml: keys.{name}: {part!r} is no key, such as x, ctrl+x or f5" for part in _parts(key) if not is_key(part)]
    return problems


def usable(keys: Mapping[str, str]) -> dict[str, str]:
    """The entries of [keys] that a terminal can send; of the others the bindings stay as they are."""
    return {name: key for name, key in keys.items() if all(map(is_key, _parts(key)))}


def _parts(keys: str) -> list[str]:
    return [part.strip() for part in keys.split(",")] if keys != "," else [keys]


def is_key(text: str) -> bool:
    """Whether a terminal can send a key that Textual calls so."""
    *modifiers, name = text.split("+") if text != "+" else [text]
    return set(modifiers) <= {"ctrl", "shift", "alt", "super", "hyper", "meta"} and (len(name) == 1 or name in _names())


@cache
def _names() -> frozenset[str]:
    from textual.keys import Keys, _character_to_key

    named = {key.value for key in Keys} | {_character_to_key(chr(code)) for code in range(33, 127)}
    return frozenset(name for name in named if name and not name.startswith("<"))


WHERE = {"": "Everywhere", "screens": "Screens", "views": "Views of runs", "widgets": "Parts of a screen"}
"""Headings of the reference, by the folder of the classes."""


def reference(app: type) -> str:
    """Every key with its id, as a Markdown page."""
    groups: dict[str, list[Bound]] = {heading: [] for heading in WHERE.values()}
    for binding in bound(app).values():
        groups[WHERE[binding.place]].append(binding)
    lines = [
        "# Keys",
        "",
        "Written by `interp-tui keys`; a test holds it to the bindings. `?` in the app shows those that work where it is pressed.",
        "In the folder that `interp-tui locate` names, `config.toml` binds an action to another key by its id:",
        "",
        "```toml",
        "[keys]",
        'runs.stop = "ctrl+x"',
        "```",
    ]
    for heading, bindings in groups.items():
        lines += ["", f"## {heading}", "", "| keys | what they do | id |", "|---|---|---|"]
        lines += [f"| {_readable(b.keys)} | {b.does} | `{b.id}` |" for b in sorted(bindings, key=lambda b: b.id)]
    return "\n".join(lines) + "\n"


SIGNS = {
    "question_mark": "?", "slash": "/", "plus": "+", "minus": "-", "equals_sign": "=", "number_sign": "#", "semicolon": ";",
    "left": "←", "right": "→", "up": "↑", "down": "↓", "enter": "⏎", "escape": "esc", "pageup": "page up", "pagedown": "page down",
    "left_square_bracket": "[", "right_square_bracket": "]", "full_stop": ".", "comma": ",",
    "less_than_sign": "<", "greater_than_sign": ">",
}  # fmt: skip


def _readable(keys: str) -> str:
    """`ctrl+x, ?` of `ctrl+x,question_mark`."""
    problems = []
    for key in keys.split(","):
        *modifiers, name = key.strip().split("+")
        problems.append("+".join([*modifiers, SIGNS.get(name, name)]))
    return ", ".join(f"`{key}`" for key in problems)
