"""What stands in a result.json, a headline or a live event, as frozen types that its writer and its readers share. Torch-free.

A kind names its types in `Kind(result=…, headline=…, live=…)`; they lie in results/, a file a kind. Five things are done with them:

- `cls(name=value, …)`: a payload as its writer makes it. mypy holds names and types to it; when it runs nothing is checked or changed, so
  that a number that is not finite, or a fault of ours, costs no run.
- `payload.as_json()`: the table that is written.
- `differences(cls, values)`: what of a payload that was just made does not fit its type, key by key. Strict: unknown keys count.
- `read(cls, stored)`: a payload from a file, whoever wrote it. Tolerant: never raises; a field that is damaged or missing has its default
  or, without one, the empty value of its type; keys that the type does not know are passed over.
- `json_schema(cls)`: the JSON Schema, for people and for other programs.

Numbers that a file may hold as null are `float | None` or `int | None`; a field without a default is one that is always written.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from .numbers import as_finite, finite
from .uncertainty import Uncertainty, from_json

LEFT_OUT: Any = object()
"""For a field that this run does not write: `named=len(heads) if scored else LEFT_OUT`."""


class Payload(BaseModel):
    """Base of all payloads: frozen, no unknown keys, no coercion between types, finite numbers or null."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True, protected_namespaces=(), populate_by_name=True
    )

    def __init__(self, **values: Any) -> None:
        """The values as they are, in the order in which they are given; what is LEFT_OUT has its default and is not written."""
        values = {name: value for name, value in values.items() if value is not LEFT_OUT}
        made = type(self).model_construct(**values)
        extra = made.__pydantic_extra__ or {}
        named = {name: value for name, value in values.items() if name not in extra}  # unknown names too: `differences` tells of them
        object.__setattr__(self, "__dict__", named | {name: value for name, value in made.__dict__.items() if name not in named})
        object.__setattr__(self, "__pydantic_fields_set__", set(values))
        object.__setattr__(self, "__pydantic_extra__", made.__pydantic_extra__)
        object.__setattr__(self, "__pydantic_private__", None)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as RootModel's: what is validated does not come by here

    def as_json(self) -> dict[str, Any]:
        """What a file holds of it: the fields that were given, in that order, under their stored names; lists for tuples."""
        written = given(self) | (self.__pydantic_extra__ or {})
        return {_stored_name(type(self), name): _plain(value) for name, value in written.items()}


class Use(Payload):
    """What a run took, each number beside what had been estimated before it began; its supervisor adds this to result.json."""

    seconds: float | None = Field(default=None, description="from the start of its last worker to its end")
    estimated_seconds: float | None = Field(default=None, description="what had been expected of seconds")
    memory_bytes: int | None = Field(default=None, description="the most that its processes had resident, those at work together added up")
    estimated_memory_bytes: int | None = Field(default=None, description="what had been expected of memory_bytes")
    gpu_memory_bytes: int | None = Field(default=None, description="the most in use on one of its GPUs, everybody's")
    disk_bytes: int | None = Field(default=None, description="the run folder at its end")
    estimated_disk_bytes: int | None = Field(default=None, description="what had been expected of disk_bytes")


class ResultFile(Payload):
    """What the result.json of every kind holds."""

    kind: str = Field(default="", description="the kind of run")
    name: str = Field(default="", description="the run's name, as in its manifest")
    schema_version: int | None = Field(default=None, description="version of this file's layout")
    seconds: float | None = Field(default=None, description="how long the run computed, seconds")
    uncertainty: Mapping[str, Uncertainty] = Field(
        default_factory=dict, description="how sure numbers of this file are, by their name; dots lead further in"
    )
    took: Use = Field(default_factory=Use, description="what the run took beside what was estimated")


class Headline(Payload):
    """What status.json, listings and the event `headline` hold of a run: its few most important numbers, some of them while it runs."""

    answer: str = Field(default="", description="the run's answer in words, where it states one")
    uncertainty: Mapping[str, Uncertainty] = Field(default_factory=dict, description="how sure its numbers are, by their name")


class NumbersByName(Payload):
    """Numbers whose names only the run knows, such as one a site."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)


Row = tuple[float | None, ...]
Grid = tuple[Row, ...]
"""Rows of numbers; null where one is not known or was not finite."""
Live = Mapping[str, type[Payload]]
"""What each series of live events carries; `sae*` stands for sae0, sae1, …"""

P = TypeVar("P", bound=Payload)


def given(payload: Payload) -> dict[str, Any]:
    """The fields that were given by name, for a larger payload that has them too: `Whole(…, **given(part))`."""
    return {name: value for name, value in payload.__dict__.items() if name in payload.model_fields_set}


def _stored_name(cls: type[Payload], name: str) -> str:
    """What a field is called in a file."""
    field = cls.model_fields.get(name)
    return (field.serialization_alias if field else None) or name


def _plain(value: Any) -> Any:
    """The value in JSON's own types, but for numbers, which `numbers.finite` sees to when they are written."""
    if isinstance(value, (Payload, Uncertainty)):
        return value.as_json()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def live_type(live: Live, series: str) -> type[Payload] | None:
    """The type of a series' payload; None for a series that is not declared."""
    return live.get(series) or live.get(f"{series.rstrip('0123456789')}*")


def differences(cls: type[Payload], values: Mapping[str, Any]) -> list[str]:
    """What of `values`, as they will stand in a file, does not fit the type: `key: what is wrong`, sorted; empty where all fits."""
    try:
        cls.model_validate_json(json.dumps(finite(values)), strict=True)
    except ValidationError as error:
        return sorted(
            {f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False, include_input=False)}
        )
    return []


def json_schema(cls: type[Payload]) -> dict[str, Any]:
    """The type's JSON Schema."""
    return cls.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def read(cls: type[P], stored: object) -> P:
    """A payload from what a file holds, whatever that is. Never raises; see the module's docstring for damaged and unknown fields."""
    table = stored if isinstance(stored, Mapping) else {}
    values: dict[str, Any] = {}
    for name, field in _fields(cls).items():
        value = field.convert(table[field.key]) if field.key in table else _DAMAGED
        values[name] = field.default() if value is _DAMAGED else value
    return cls.model_construct(**values)


_DAMAGED: Any = object()
Convert = Callable[[Any], Any]
"""A stored value as its type wants it, or _DAMAGED."""


class _FieldReader(NamedTuple):
    key: str
    convert: Convert
    default: Callable[[], Any]


@cache
def _fields(cls: type[Payload]) -> dict[str, _FieldReader]:
    hints = get_type_hints(cls)
    readers = {}
    for name, field in cls.model_fields.items():
        hint = hints[name]
        default = _empty(hint) if field.is_required() else _default(field)
        if default is None:
            raise TypeError(f"{cls.__name__}.{name}: {hint} has no empty value; make it '| None', or give it a default")
        readers[name] = _FieldReader(_stored_name(cls, name), _converter(hint), default)
    return readers


def _default(field: FieldInfo) -> Callable[[], Any]:
    """What makes a field's default. Pydantic's own way looks at the factory's signature each time, which ten thousand headlines feel."""
    if field.default_factory is not None:
        return cast("Callable[[], Any]", field.default_factory)
    value = field.default
    return (lambda: value) if value is None or isinstance(value, (bool, int, float, str)) else field.get_default


def _empty(hint: Any) -> Callable[[], Any] | None:
    """What makes the empty value of a type; None where it has none."""
    if hint is Any:
        return lambda: None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return (lambda: None) if types.NoneType in arguments else _empty(arguments[0])
    if hint is str or (origin is Literal and "" in arguments):
        return lambda: ""
    if origin is tuple:
        return tuple
    if origin is Mapping:
        return dict
    if isinstance(hint, type) and issubclass(hint, Payload):
        return lambda: read(hint, {})
    return None


def _converter(hint: Any) -> Convert:
    """What reads a stored value as the type: numbers finite, lists as tuples, a damaged item as the empty value of its type."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_of([_converter(each) for each in arguments])
    if origin is tuple:
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            raise TypeError(f"{hint}: only tuples of one type and any length")
        return _sequence(_converter(arguments[0]), _empty(arguments[0]))
    if origin is Mapping:
        return _mapping(_converter(arguments[1]), _empty(arguments[1]))
    if origin is Literal:
        return lambda value: value if isinstance(value, str) and value in arguments else _DAMAGED
    if hint is Uncertainty:
        return lambda value: from_json(value) if isinstance(value, Mapping) else _DAMAGED
    if isinstance(hint, type) and issubclass(hint, Payload):
        return lambda value: read(hint, value) if isinstance(value, Mapping) else _DAMAGED
    raise TypeError(f"{hint} is no type of a payload")


def _first_of(choices: Sequence[Convert]) -> Convert:
    def convert(value: Any) -> Any:
        return next((read_value for each in choices if (read_value := each(value)) is not _DAMAGED), _DAMAGED)

    return convert


def _sequence(item: Convert, empty: Callable[[], Any] | None) -> Convert:
    """A list: an item that cannot be read is its type's empty value, so that positions hold; it is left out where there is none."""

    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return _DAMAGED
        items = [item(each) for each in value]
        if empty is None:
            return tuple(each for each in items if each is not _DAMAGED)
        return tuple([empty() if each is _DAMAGED else each for each in items])

    return convert


def _mapping(item: Convert, empty: Callable[[], Any] | None) -> Convert:
    """A table: a value that cannot be read is its type's empty value, and is left out where there is none."""

    def convert(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return _DAMAGED
        items = {str(key): item(each) for key, each in value.items()}
        if empty is None:
            return {key: each for key, each in items.items() if each is not _DAMAGED}
        return {key: empty() if each is _DAMAGED else each for key, each in items.items()}

    return convert


MOST_EXACT = 2**63


def _float(value: Any) -> Any:
    number = as_finite(value)
    return _DAMAGED if number is None else number


def _int(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) < MOST_EXACT else _DAMAGED


_SCALARS: dict[Any, Convert] = {
    float: _float,
    int: _int,
    bool: lambda value: value if isinstance(value, bool) else _DAMAGED,
    str: lambda value: value if isinstance(value, str) else _DAMAGED,
    types.NoneType: lambda value: None if value is None else _DAMAGED,
    Any: lambda value: value,
}
"""Readers of single values by their type."""
