"""Architecture by name: the class that an architecture's file defines."""

from __future__ import annotations

import importlib

from .architecture import Architecture
from .names import ARCHITECTURES, NAMES, Sparsity


def class_of(name: str) -> type[Architecture]:
    """The architecture called `name`. Its file must define an Architecture whose `name` is that."""
    module = importlib.import_module(f".{ARCHITECTURES[name].module}", __package__)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Architecture) and getattr(value, "name", None) == name:
            return value
    raise AssertionError(f"dictionaries/{ARCHITECTURES[name].module}.py defines no Architecture with name = {name!r}")


def build(name: str, latents: int, sparsity: Sparsity) -> Architecture:
    """The architecture called `name` for a dictionary of that many latents."""
    return class_of(name).of(latents, sparsity)


def stored_as(layout: str) -> list[type[Architecture]]:
    """The architectures whose dictionaries SAE Lens keeps under this name, the one that is read from it first."""
    classes = [candidate for candidate in map(class_of, NAMES) if candidate.stored_as == layout]
    return sorted(classes, key=lambda candidate: not candidate.canonical)


def layouts() -> list[str]:
    """The names under which SAE Lens keeps what can be read here."""
    return sorted({class_of(name).stored_as for name in NAMES})
