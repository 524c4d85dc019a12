"""One result kind a file; a file says in KINDS which kinds of run it shows. Kinds that no file names are shown by `generic`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

from .base import RunView

ANY = "*"


@cache
def view_for(kind: str) -> type[RunView]:
    """The view of a kind of run. Files are imported until it is found, first the one that is named as the kind is."""
    return next((view for view in _views(first=kind) if kind in view.KINDS), None) or view_for(ANY)


def all_views() -> set[type[RunView]]:
    """Every view that shows some kind."""
    return {view for view in _views() if view.KINDS}


def _views(first: str = "") -> Iterator[type[RunView]]:
    names = sorted((file.name for file in pkgutil.iter_modules(__path__)), key=lambda name: (name != first, name))
    for name in names:
        values = vars(importlib.import_module(f"{__name__}.{name}")).values()
        yield from (value for value in values if isinstance(value, type) and issubclass(value, RunView))
