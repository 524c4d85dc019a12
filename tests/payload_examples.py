"""Payloads made from the types that kinds state: a full one that fits, and every way to damage one value of it."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from interp_tui_engine.payload import Payload
from interp_tui_engine.uncertainty import Uncertainty

DAMAGE: tuple[Any, ...] = (
    *(None, True, "x", "\x1b]52;c;aGk=\x07[/b]\u202e", -1, 3, 0.5, 1e308, float("nan"), float("-inf"), 10**400),
    *([], [[]], [None, {}, "x", 1], {}, {"a": {"b": [1]}}),
)
"""What may stand where something else should: of a wrong type, missing, not finite, huge, nested, hostile."""
MISSING = object()


def example(cls: type[Payload]) -> dict[str, Any]:
    """A payload in which every field holds something."""
    hints = get_type_hints(cls)
    return {field.alias or name: _value(hints[name]) for name, field in cls.model_fields.items()}


def _value(hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(next(each for each in arguments if each is not types.NoneType))
    if origin is tuple:
        return [_value(arguments[0]) for _ in range(2)]
    if origin is Mapping:
        return {"a": _value(arguments[1]), "L1.b": _value(arguments[1])}
    if origin is Literal:
        return arguments[-1]
    if hint is Uncertainty:
        return Uncertainty("4 chains", std_error=0.1, control=0.4, clear=False).as_json()
    if isinstance(hint, type) and issubclass(hint, Payload):
        return example(hint)
    return {str: "word", int: 1, float: 0.5, bool: True, Any: {"k": 1}}[hint]


def damaged(payload: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value of the payload replaced by everything that may stand there, or left out, one at a time; with where and what."""
    for path in _paths(payload):
        for damage in (*DAMAGE, MISSING):
            changed = copy.deepcopy(dict(payload))
            place: Any = changed
            for key in path[:-1]:
                place = place[key]
            if damage is MISSING:
                del place[path[-1]]
            else:
                place[path[-1]] = damage
            yield f"{'.'.join(map(str, path))} = {'nothing' if damage is MISSING else damage!r:.40}", changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested tables; of lists the first item stands for all."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))
