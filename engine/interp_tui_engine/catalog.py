"""Which kinds of run there are. A kind is one file in experiments/; its module name is the kind's name. Torch-free.

An experiment module holds TITLE, QUESTION (one sentence), GROUP, NEEDS (which of 'model' and 'data' it must be given), EXAMPLE (the tables
of a manifest that runs as it is), Params (pydantic) and run(context) -> events; optionally check(manifest), estimate(manifest), RESULT
(the names at the top of its result.json) and SHARING where several workers can do it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import Problem
from .events import Event
from .specs import Table
from .uncertainty import Uncertainty

if TYPE_CHECKING:
    from .manifest import Manifest
    from .runtime.context import Context
    from .shards import Assignment

Group = Literal["Learning theory", "One forward pass", "Features", "Tools"]
GROUPS: tuple[Group, ...] = ("Learning theory", "One forward pass", "Features", "Tools")


@dataclass(frozen=True)
class Estimate:
    """What a run will take, before it is started: wall-clock seconds, peak resident bytes, bytes on disk; None where it cannot be known."""

    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a kind returns: `values` go to result.json, `headline` to status and listings, `report` to report.md.

    `digests` holds a sha256 for each array the run wrote: what `replay --check` compares. `uncertainty` says how sure the numbers in
    `values` are, by name.
    """

    values: Mapping[str, Any]
    headline: Mapping[str, Any] = field(default_factory=dict)
    report: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    uncertainty: Mapping[str, Uncertainty] = field(default_factory=dict)


@dataclass(frozen=True)
class Sharding:
    """How a kind is done by several workers, one a device. After them `run` finds all their checkpoints as its own, and goes on from there.

    deal: the manifest and how many workers there are at most -> what each is to do, for people and for `work`.
    work: one worker's share; returns what it has to tell `run` (`Context.joined`).
    merger: makes of what one worker says of itself (a running estimate) what is known of the run, for events(shard, event).
    """

    assign: Callable[[Manifest, int], list[Assignment]]
    work: Callable[[Context], Generator[Event, None, Mapping[str, Any]]]
    merger: Callable[[Manifest], Callable[[int, Event], Event]]


@dataclass(frozen=True)
class Kind:
    """One kind of run, as its experiment module describes it."""

    name: str
    title: str
    question: str
    group: Group
    needs: frozenset[str]
    example: Mapping[str, Any]
    params: type[Table]
    run: Callable[[Context], Generator[Event, None, Result]]
    check: Callable[[Manifest], list[Problem]]
    estimate: Callable[[Manifest], Estimate]
    sharding: Sharding | None = None
    result: tuple[str, ...] = ()
    """Every name that may stand at the top of its result.json, but for those that all kinds write; empty where the kind does not say."""


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
        sharding=getattr(module, "SHARING", None),
        result=getattr(module, "RESULT", ()),
    )


def kinds() -> list[Kind]:
    """All kinds, in the order of their groups, then by name."""
    return sorted((get(name) for name in kind_names()), key=lambda kind: (GROUPS.index(kind.group), kind.name))
