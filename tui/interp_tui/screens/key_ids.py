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
    """One binding: its id, the keys it has unless the user changes them, what it does, and the class that has it."""

    id: str
    keys: str
    does: str
    where: str


@cache
def bound(app: type) -> Mapping[str, Bound]:
    """All bindings with an id, those of `app` too. Imports every screen, view and widget, so call it from a thread."""
    found: dict[str, Bound] = {}
    for owner in (app, *_owners()):
        for binding in vars(owner).get("BINDINGS", ()):
            if getattr(binding, "id", None):
                found.setdefault(binding.id, Bound(binding.id, binding.key, binding.description, owner.__name__))
    return found


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
    found = []
    for name, key in keys.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {close[0]!r}?" if close else "; '?' in the app lists the ids"
            found.append(f"config.toml: keys.{name}: no key has this id{guess}")
        found += [f"config.toml: keys.{name}: {part!r} is no key, such as x, ctrl+x or f5" for part in _parts(key) if not is_key(part)]
    return found


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
