"""Which kinds of run there are. A kind is one file in experiments/; its module name is the kind's name. Torch-free.

An experiment module holds TITLE, QUESTION (one sentence), GROUP, NEEDS (which of 'model' and 'data' it must be given), EXAMPLE (the tables
of a manifest that runs as it is), Params (pydantic) and run(context) -> events; optionally check(manifest), estimate(manifest), RESULT
(the names at the top of its result.json) and SHARDING where several workers can do it.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

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
    module: Any = importlib.import_module(f"interp_tui_engine.experiments.{name}")
    return Kind(
        name=name,
        title=module.TITLE,
        question=module.QUESTION,
        group=module.GROUP,
        needs=module.NEEDS,
        example=module.EXAMPLE,
        params=module.Params,
        run=module.run,
        check=getattr(module, "check", lambda manifest: []),
        estimate=getattr(module, "estimate", lambda manifest: Estimate(None, None, None)),
        sharding=getattr(module, "SHARDING", None),
        result=getattr(module, "RESULT", ()),
    )


def kinds() -> list[Kind]:
    """All kinds, in the order of their groups, then by name."""
    return sorted((get(name) for name in kind_names()), key=lambda kind: (GROUPS.index(kind.group), kind.name))
