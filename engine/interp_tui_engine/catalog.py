"""Which kinds of run there are. A kind is one file or one folder in experiments/, named as the kind is, that holds KIND = Kind(…).

See `kind.Kind` for what it says of itself. Its module imports no torch; what it runs is imported when it runs. Torch-free.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from .kind import GROUPS as GROUPS
from .kind import Estimate as Estimate
from .kind import Group as Group
from .kind import Kind as Kind
from .kind import Result as Result
from .kind import Sharding as Sharding


@cache
def kind_names() -> tuple[str, ...]:
    """The names of all kinds, found by their files; nothing is imported. Folders that begin with '_' hold what kinds share."""
    names = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent / "experiments")]))
    return tuple(sorted(name for name in names if not name.startswith("_")))


@cache
def get(name: str) -> Kind:
    """The kind called `name`. Raises KeyError when there is none. Imports its module, which imports no torch."""
    if name not in kind_names():
        raise KeyError(name)
    kind = importlib.import_module(f"interp_tui_engine.experiments.{name}").KIND
    assert isinstance(kind, Kind) and kind.name == name, f"experiments/{name} must hold KIND = Kind(name={name!r}, …)"
    return kind


def kinds() -> list[Kind]:
    """All kinds, in the order of their groups, then by name."""
    return sorted((get(name) for name in kind_names()), key=lambda kind: (GROUPS.index(kind.group), kind.name))
