"""From pydantic's errors to problems a user can mend: the key's full path, its line, the value, what is allowed, the nearest name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tomli
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .errors import Problem
from .toml_lines import KeyPath, line_of

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class ManifestOrigin:
    """Where the values of a manifest come from: lines of a file, and --set options, which are named instead of a line."""

    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overrides: Mapping[KeyPath, str] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str, value: object = None, suggestion: str | None = None) -> Problem:
        """A problem with the key at `path`, placed."""
        return self.placed(path, Problem(dotted(path), message, value=value, suggestion=suggestion))

    def placed(self, path: KeyPath, problem: Problem) -> Problem:
        """The problem with the line of the key at `path`, or with the --set option that gave its value."""
        for at, text in self.overrides.items():
            inside = path[: len(at)] == at
            made_by_it = at[: len(path)] == path and path not in self.lines
            if inside or made_by_it:
                return Problem(problem.path, f"{problem.message} (from --set {text})", None, problem.value, problem.suggestion)
        return Problem(problem.path, problem.message, problem.line or line_of(dict(self.lines), path), problem.value, problem.suggestion)

    def located(self, problem: Problem) -> Problem:
        """A kind's own problem, placed by its dotted path; a path that stands nowhere is placed at the nearest table above it."""
        by_text = {".".join(map(str, path)): path for path in (*self.lines, *self.overrides)}
        parts = problem.path.split(".")
        paths = (by_text[text] for end in range(len(parts), 0, -1) if (text := ".".join(parts[:end])) in by_text)
        return self.placed(next(paths, ()), problem)


def dotted(path: KeyPath) -> str:
    """The path as TOML writes a dotted key; a part that is no bare key is quoted."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key) for key in map(str, path)) or "manifest"


def shown(value: object) -> str:
    """The value as an error message quotes it: escaped, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def nearest(name: str, choices: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The choice most like the name, if one is like it at all."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=cutoff)
    return close[0] if close else None


def explain(errors: Sequence[ErrorDetails], model: type[BaseModel], tables: Mapping[str, Any], source: ManifestOrigin) -> list[Problem]:
    """One problem for each key that has errors: the branches of a union all complain about the same value."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        by_path.setdefault(_path_in_file(error, tables), []).append(error)
    return [_explain_key(path, errors_there, model, source) for path, errors_there in by_path.items()]


def _path_in_file(error: ErrorDetails, tables: Any) -> KeyPath:
    """The part of pydantic's location that stands in the file: the names of union branches and of types do not."""
    path: list[str | int] = []
    for index, key in enumerate(error["loc"]):
        is_missing = error["type"] == "missing" and index == len(error["loc"]) - 1
        if isinstance(tables, Mapping) and (key in tables or is_missing):
            path.append(key)
            tables = tables.get(str(key))
        elif isinstance(tables, list) and isinstance(key, int) and key < len(tables):
            path.append(key)
            tables = tables[key]
    return tuple(path)


def _explain_key(path: KeyPath, errors: Sequence[ErrorDetails], model: type[BaseModel], source: ManifestOrigin) -> Problem:
    first = errors[0]
    value = first["input"]
    about = _field(model, path)
    description = about.description if about and about.description else ""
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, value, model, source)
    if first["type"] == "missing":
        return source.problem(path, f"is missing{f' ({description})' if description else ''}")
    if first["type"] in ("value_error", "assertion_error"):
        message = first["msg"].split(", ", 1)[-1]
        return source.problem(path, message if isinstance(value, Mapping) else f"{shown(value)}: {message}", value)
    if first["type"] == "string_pattern_mismatch":
        words = [word.strip() for word in description.split(",") if " " not in word.strip()]
        message = f"{shown(value)} does not fit; {description or first['ctx']['pattern']}"
        return source.problem(path, message, value, nearest(str(value), words, 0.5))
    wanted = " or ".join(dict.fromkeys(_wanted(error) for error in errors))
    choices = [choice for error in errors for choice in _choices(error)]
    guess = nearest(value, choices, 0.5) if isinstance(value, str) else None
    return source.problem(path, f"{shown(value)} should be {wanted}{_unquoted(value, errors)}", value, guess)


def _wanted(error: ErrorDetails) -> str:
    if error["type"] in ("model_type", "dict_type", "model_attributes_type", "mapping_type"):
        return "a table"
    if error["type"] == "string_too_short":
        return "text that is not empty"
    text = error["msg"]
    for opening in ("Input should be ", "String should ", "List should "):
        text = text.removeprefix(opening)
    return text.replace("a valid ", "a ").replace("a integer", "an integer").replace("a array", "an array")


def _choices(error: ErrorDetails) -> list[str]:
    if error["type"] != "literal_error":
        return []
    return [choice.strip(" '") for choice in str(error["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def _unquoted(value: object, errors: Sequence[ErrorDetails]) -> str:
    """A reminder for the commonest slip: a number or truth value in quotes."""
    if not isinstance(value, str) or not any(error["type"] in ("float_type", "int_type", "bool_type") for error in errors):
        return ""
    try:
        is_value = not isinstance(tomli.loads(f"v = {value}")["v"], str)
    except (ValueError, RecursionError):
        return ""
    return ", without quotes" if is_value else ""


def _unknown_key(path: KeyPath, value: object, model: type[BaseModel], source: ManifestOrigin) -> Problem:
    name = str(path[-1])
    here = list(_fields_below(model, path[:-1]))
    guess = nearest(name, here)
    if guess is None:
        elsewhere = [(above, table) for above in ((), ("params",), ("model",), ("compute",)) for table in [_fields_below(model, above)]]
        guess = next((dotted((*above, name)) for above, table in elsewhere if name in table), None)
    return source.problem(path, f"is no key here; known: {', '.join(sorted(here)) or 'none'}", value, guess)


def _field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    return _fields_below(model, path[:-1]).get(str(path[-1])) if path else None


def _fields_below(model: type[BaseModel], path: KeyPath) -> dict[str, FieldInfo]:
    """The keys that the table at `path` below `model` may have."""
    annotations: list[Any] = [model]
    for key in path:
        annotations = [below for annotation in annotations for below in _below(annotation, key)]
    models = [option for annotation in annotations for option in _options(annotation) if _is_model(option)]
    return {name: about for option in models for name, about in option.model_fields.items()}


def _below(annotation: Any, key: str | int) -> Iterator[Any]:
    """The types that the entry `key` of a value of this type may have."""
    for option in _options(annotation):
        origin, arguments = get_origin(option), get_args(option)
        if _is_model(option):
            if key in option.model_fields:
                yield option.model_fields[key].annotation
        elif isinstance(origin, type) and arguments:
            yield arguments[-1] if issubclass(origin, Mapping) else arguments[0]


def _options(annotation: Any) -> Iterator[Any]:
    """The annotation itself, or, for a union or an Annotated, what it is made of."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _options(argument)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)
