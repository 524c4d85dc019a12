"""What a kind of run is, what it is given and what it returns: the types that kinds, the catalogue and workers share. Torch-free."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from . import lease
from .errors import Problem
from .events import Event
from .manifest_types import Manifest
from .payload import Headline, Live, ResultFile
from .runfolder import RunFolder
from .shards import Assignment, Shard
from .specs import Table
from .uncertainty import Uncertainty

Order = Literal["go", "pause", "checkpoint", "stop"]


class Interrupted(Exception):
    """The run was told to stop and has written its checkpoint."""


@dataclass(frozen=True)
class Context:
    """One shard of one run, as its experiment sees it."""

    manifest: Manifest
    folder: RunFolder
    shard: int
    poll: Callable[[], Order]
    """What to do next; asked between steps. 'pause' blocks nothing by itself: ask again until it is no longer said."""
    resumed: bool = False
    share: Shard | None = None
    """What this worker does of a run that several share; None where it does all."""
    joined: tuple[Mapping[str, Any], ...] = ()
    """For the worker that joins the others' shares: what each of them had to tell."""

    @property
    def is_primary(self) -> bool:
        """Whether what concerns the whole run is for this worker to say: the others would only repeat it."""
        return self.share is None or self.shard == 0

    @property
    def common_path(self) -> Path:
        """A folder for what all workers of the run must agree on."""
        return self.shard_path if self.share is None else self.shard_path.parent

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """While held, no other worker of this run is inside the same."""
        return contextlib.nullcontext() if self.share is None else lease.held(self.common_path / "workers.lock", math.inf)

    @property
    def shard_path(self) -> Path:
        return self.folder.shard(self.shard)

    @property
    def checkpoint_path(self) -> Path:
        return self.shard_path / "checkpoint"


Group = Literal["Learning theory", "One forward pass", "Features", "Tools"]
GROUPS: tuple[Group, ...] = ("Learning theory", "One forward pass", "Features", "Tools")


@dataclass(frozen=True)
class Estimate:
    """What a run will take, before it is started: wall-clock seconds, peak resident bytes, bytes on disk; None where it cannot be known.

    low, high: bounds of the seconds, where `expected_time` has set them.
    """

    seconds: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    notes: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


PROCESS_BYTES = 450 << 20
"""Resident memory of a process that has imported torch and transformers."""


def held_together(estimate: Estimate, devices: int) -> Estimate:
    """The estimate of work on one device, where several processes hold the model together: each has its part of what is not its own."""
    if devices < 2 or estimate.memory_bytes is None:
        return estimate
    each = PROCESS_BYTES + max(0, estimate.memory_bytes - PROCESS_BYTES) // devices
    note = f"{devices} devices hold the model together, about {each / 2**30:.1f} GiB each"
    return replace(estimate, memory_bytes=devices * each, notes=(*estimate.notes, note))


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


def no_problems(manifest: Manifest) -> list[Problem]:
    """For a kind with nothing to check beyond its Params."""
    return []


def not_known(manifest: Manifest) -> Estimate:
    """For a kind whose cost cannot be told beforehand."""
    return Estimate(None, None, None)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of run, as its module in experiments/ describes it.

    name: as in manifests; the module's own name. question: one sentence that it answers. needs: which of the tables 'model' and 'data'
    it must be given. example: the tables of a manifest that runs as it is. params: what its [params] may hold. check: what is wrong
    with a resolved manifest, beyond what `params` says. follow: what a process does that holds a part of a worker's model, in step with
    it; None where a model must fit one device. sharding: how several workers do it together, where they can. splittable: whether
    several devices may hold its model, each a part of every matrix, as it only reads the weights (`model.parallel`). result, headline,
    live: what its result.json, its headline and each series of its live events hold (`results/`); None and empty where the kind does
    not say.
    """

    name: str
    title: str
    question: str
    group: Group
    needs: frozenset[str]
    example: Mapping[str, Any]
    params: type[Table]
    run: Callable[[Context], Generator[Event, None, Result]]
    check: Callable[[Manifest], list[Problem]] = no_problems
    estimate: Callable[[Manifest], Estimate] = not_known
    sharding: Sharding | None = None
    result: type[ResultFile] | None = None
    headline: type[Headline] | None = None
    live: Live = field(default_factory=dict)
    follow: Callable[[Context], None] | None = None
    splittable: bool = False
