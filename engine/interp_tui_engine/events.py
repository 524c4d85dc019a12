"""What happens in a run, as small frozen values that go to JSON lines and back.

Every line of an events.jsonl holds `v`, `seq`, `t` (seconds since the epoch), `type` and the event's own fields. Lines that the supervisor
copies from a worker also hold `shard` and `shard_seq`, so that after a kill it can tell which of the worker's lines it has copied already.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from pydantic_core import from_json

from .numbers import finite
from .untrusted import no_deeper, parse_json

VERSION = 1

type_of: dict[str, type[Event]] = {}


def _register(cls: type[Event]) -> type[Event]:
    type_of[cls.type] = cls
    return cls


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events; `type` names the event in JSON."""

    type: ClassVar[str] = "event"


@_register
@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run, or one shard of it, begins (or begins again). `provenance` is what only the worker can know: hashes, device, choices made."""

    type: ClassVar[str] = "run_started"
    kind: str
    name: str
    device: str = ""
    resumed: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


@_register
@dataclass(frozen=True, slots=True)
class Phase(Event):
    """The run enters a named stage: 'loading model', 'sampling', …"""

    type: ClassVar[str] = "phase"
    name: str
    detail: str = ""


@_register
@dataclass(frozen=True, slots=True)
class Progress(Event):
    """`done` of `total` units of work; `eta_seconds` is None until there is a rate."""

    type: ClassVar[str] = "progress"
    done: float
    total: float
    unit: str
    eta_seconds: float | None = None


@_register
@dataclass(frozen=True, slots=True)
class Metrics(Event):
    """Numbers of one series at one step: scalars, or lists with one entry a chain, layer or bucket."""

    type: ClassVar[str] = "metrics"
    series: str
    step: int
    values: Mapping[str, Any] = field(default_factory=dict)


@_register
@dataclass(frozen=True, slots=True)
class ArrayWritten(Event):
    """An array is complete up to `written` along its first growing dimension; readers may open it."""

    type: ClassVar[str] = "array"
    path: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    written: int | None = None


@_register
@dataclass(frozen=True, slots=True)
class Artifact(Event):
    """A file worth opening has been written, relative to the run folder."""

    type: ClassVar[str] = "artifact"
    path: str
    title: str = ""


@_register
@dataclass(frozen=True, slots=True)
class Checkpoint(Event):
    """The run can now be resumed from `step`."""

    type: ClassVar[str] = "checkpoint"
    path: str
    step: int


@_register
@dataclass(frozen=True, slots=True)
class ChainFailed(Event):
    """One chain went non-finite and is left out of every estimate; the others go on."""

    type: ClassVar[str] = "chain_failed"
    chain: int
    step: int
    cause: str


@_register
@dataclass(frozen=True, slots=True)
class Warned(Event):
    """Something the user should know that did not stop the run."""

    type: ClassVar[str] = "warning"
    message: str


@_register
@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The last event of a run: `state` is done, failed, interrupted or crashed."""

    type: ClassVar[str] = "run_finished"
    state: str
    seconds: float
    headline: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """An event of a type this version does not know; kept, so that newer runs can still be read."""

    type: ClassVar[str] = "unknown"
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event with its place in the log: sequence number, time, and, if copied from a worker, its place there."""

    seq: int
    t: float
    event: Event
    shard: int | None = None
    shard_seq: int | None = None


def to_line(stamped: Stamped) -> str:
    """One JSON line without its newline; numbers that are not finite become null."""
    event = stamped.event
    record: dict[str, Any] = {"v": VERSION, "seq": stamped.seq, "t": round(stamped.t, 3), "type": event.type}
    if stamped.shard is not None:
        record |= {"shard": stamped.shard, "shard_seq": stamped.shard_seq}
    if isinstance(event, Unknown):
        record |= {k: v for k, v in event.fields.items() if k not in record} | {"type": event.fields.get("type", "unknown")}
    else:
        record |= {f.name: finite(getattr(event, f.name)) for f in fields(event)}
    # in ASCII: a line stays one line for every reader (U+2028), lone surrogates can be written, and nothing in it steers a terminal
    return json.dumps(record, allow_nan=False, separators=(",", ":"))


def from_line(line: str | bytes) -> Stamped:
    """The inverse of `to_line`. Raises ValueError on a line that is no event; fields a newer version added are dropped."""
    try:
        record = no_deeper(from_json(line), line)
    except ValueError:
        record = parse_json(line)  # at half the speed, but with the lone surrogates that `to_line` may have written
    if not isinstance(record, dict) or type(record.get("seq")) is not int:
        raise ValueError("not an event")
    name = record.get("type")
    cls = type_of.get(name) if isinstance(name, str) else None
    event = _event(cls, record) if cls is not None else Unknown(record)
    t, shard, shard_seq = record.get("t"), record.get("shard"), record.get("shard_seq")
    return Stamped(
        record["seq"],
        t if type(t) is float else float(t) if type(t) is int and abs(t) < 1 << 62 else 0.0,
        event,
        shard if type(shard) is int else None,
        shard_seq if type(shard_seq) is int else None,
    )


def _event(cls: type[Event], record: Mapping[str, Any]) -> Event:
    values: dict[str, Any] = {}
    for name, fitting, make in _CHECKS[cls]:
        if name in record:
            value = record[name]
            if type(value) not in fitting:
                raise ValueError(f"not a {cls.type} event: {name} is {value!r:.80}")
            values[name] = value if make is None else make(value)
    try:
        return cls(**values)
    except TypeError as error:  # a field without a default is missing
        raise ValueError(f"not a {cls.type} event: {error}") from None


_NONE = type(None)
_FITTING: dict[str, tuple[tuple[type, ...], Callable[[Any], Any] | None]] = {
    "str": ((str,), None),
    "bool": ((bool,), None),
    "int": ((int,), None),
    "int | None": ((int, _NONE), None),
    "float": ((float, int, _NONE), lambda value: 0.0 if value is None else value),  # null stands for a number that was not finite
    "float | None": ((float, int, _NONE), None),
    "Mapping[str, Any]": ((dict,), None),
    "tuple[str, ...]": ((list,), lambda items: tuple(str(item) for item in items)),
    "tuple[int, ...]": ((list,), lambda items: tuple(item if type(item) is int else 0 for item in items)),
}
"""By a field's annotation: the types of JSON value that fit, and what makes the field's own type of one."""

_CHECKS = {cls: tuple((f.name, *_FITTING[str(f.type)]) for f in fields(cls)) for cls in type_of.values()}
