"""One result kind a file; a file says in KINDS which kinds of run it shows. Kinds that no file names are shown by `generic`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from .base import RunView


def view_for(kind: str) -> type[RunView]:
    """The view of a kind of run."""
    found = _views()
    return found.get(kind) or found["*"]


@cache
def _views() -> dict[str, type[RunView]]:
    found: dict[str, type[RunView]] = {}
    for file in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{file.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, RunView):
                found |= dict.fromkeys(value.KINDS, value)
    return found
