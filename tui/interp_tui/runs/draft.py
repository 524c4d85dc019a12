"""A manifest being written in a form: what stands in each field as text, and the tables and TOML that follow from it. No Textual here.

The form follows from the pydantic models alone (the tables every kind shares, and the kind's `Params`), so a new kind needs no line here.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from interp_tui_engine import catalog, untrusted
from interp_tui_engine.catalog import Kind
from interp_tui_engine.errors import UserError
from interp_tui_engine.specs import ComputeSpec, DataSpec, ModelSpec

from ..widgets.form import FormField, Path, Section

DATASETS: Path = ("data",)
"""The field that says which [data.NAME] tables there are."""
START: Path = ("start",)
"""The field that says when the run starts: no part of the manifest."""
IN_QUEUE = "in the queue"
SUGGESTED: dict[str, tuple[str, ...]] = {
    "model.source": ("builtin:tiny",),
    "data.source": ("builtin:facts", "builtin:prose", "builtin:code"),
}
SELDOM = {"backend", "parallel", "partial", "text_column", "config_name", "shuffle_seed", "split", "prepend_bos"}
NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
HEAD = {
    "name": FormField(("name",), "name", help="a short name for the run folder and the tables"),
    "seed": FormField(("seed",), "seed", default="100", help="all randomness of the run follows from it"),
}


@dataclass(frozen=True)
class _Typed:
    """A field with what its text must become."""

    field: FormField
    default: Any
    is_text: bool


class Draft:
    """One kind's form: texts by path. `tables()` is the manifest it stands for, valid or not."""

    def __init__(self, kind: Kind, tables: Mapping[str, Any]) -> None:
        self.kind = kind
        self.example = _leaves(kind.example, kind)
        self.datasets: list[str] = list(tables.get("data", {})) if isinstance(tables.get("data"), Mapping) else []
        self.texts: dict[Path, str] = {}
        self.in_queue = False
        """Whether the run waits for a free device, after those that wait already."""
        self.extra: dict[Path, Any] = {}
        """What a template says that no field stands for; kept, so that nothing is lost on the way through the form."""
        typed = self._typed()
        for path, value in _leaves(tables, kind).items():
            if path in typed:
                default = typed[path].default
                self.texts[path] = "" if value == default and path not in self.example else literal(value, text=typed[path].is_text)
            elif path != ("kind",):
                self.extra[path] = value
        self.texts.setdefault(("name",), "run")

    @staticmethod
    def of_kind(name: str) -> Draft:
        """An empty form: the kind's example, which runs as it is."""
        kind = catalog.get(name)
        return Draft(kind, {"name": name.replace("_", "-"), "seed": 100, **deepcopy(dict(kind.example))})

    @staticmethod
    def of_tables(tables: Mapping[str, Any]) -> Draft:
        """A form filled from a manifest's tables. Raises UserError when their kind is not known here."""
        name = tables.get("kind")
        if not isinstance(name, str) or name not in catalog.kind_names():
            raise UserError(f"no form for kind {name!r}", f"known: {', '.join(catalog.kind_names())}")
        return Draft(catalog.get(name), tables)

    def set(self, path: Path, text: str) -> None:
        """Take what was typed into a field."""
        if path == DATASETS:
            names = [name.strip() for name in text.split(",") if name.strip()]
            self.datasets = list(dict.fromkeys(names))
        elif path == START:
            self.in_queue = text == IN_QUEUE
        else:
            self.texts[path] = text

    def sections(self) -> list[Section]:
        """The form: what an example sets is open, the rest folded."""
        start_help = "now, or when a device is free, after the runs that wait already: Q shows them"
        start = FormField(START, "start", IN_QUEUE if self.in_queue else "", "now", start_help, choices=("now", IN_QUEUE))
        head = [*(self._filled(field) for field in HEAD.values()), start]
        sections = [Section("run", tuple(head))]
        if self._has_model():
            sections.append(Section("model", self._fields(("model",), ModelSpec, seldom=False)))
        if self._has_data():
            sections.append(
                Section(
                    "data",
                    (FormField(DATASETS, "datasets", ", ".join(self.datasets), help="names of the [data.NAME] tables, with commas"),),
                )
            )
        for name in self.datasets:
            sections.append(Section(f"data.{name}", self._fields(("data", name), DataSpec, seldom=False)))
        usual = {path for path in self.example if path[0] == "params"}
        required = {("params", name) for name, info in self.kind.params.model_fields.items() if info.is_required()}
        params = self._fields(("params",), self.kind.params, seldom=None)
        shown = [field for field in params if field.path in usual | required]
        sections.append(Section("params", tuple(shown)))
        hidden = [field for field in params if field.path not in usual | required]
        if hidden:
            sections.append(Section("more params", tuple(hidden), folded=True))
        if self._has_model():
            sections.append(Section("more model", self._fields(("model",), ModelSpec, seldom=True), folded=True))
        for name in self.datasets:
            sections.append(Section(f"more data.{name}", self._fields(("data", name), DataSpec, seldom=True), folded=True))
        sections.append(Section("compute", self._fields(("compute",), ComputeSpec, seldom=None), folded=True))
        return sections

    def tables(self) -> dict[str, Any]:
        """The manifest's tables in their usual order; what equals a default is left out unless the example says it."""
        tables: dict[str, Any] = {"kind": self.kind.name}
        for path, typed in self._typed().items():
            text = self.texts.get(path, "")
            if not text.strip():
                continue
            value = parse(text, is_text=typed.is_text)
            if value != typed.default or path in self.example or path[0] in HEAD:
                _put(tables, path, value)
        for path, value in self.extra.items():
            if path[0] != "data" or path[1] in self.datasets:
                _put(tables, path, value)
        for name in self.datasets:
            tables.setdefault("data", {}).setdefault(name, {})
        return tables

    def toml(self) -> str:
        """The manifest as text."""
        return tomli_w.dumps(self.tables())

    def _has_model(self) -> bool:
        return "model" in self.kind.needs or any(path[0] == "model" for path in (*self.texts, *self.example))

    def _has_data(self) -> bool:
        return "data" in self.kind.needs or bool(self.datasets)

    def _typed(self) -> dict[Path, _Typed]:
        typed = {field.path: _Typed(field, None, name == "name") for name, field in HEAD.items()}
        if self._has_model():
            typed |= _typed_of(("model",), ModelSpec)
        for name in self.datasets:
            typed |= _typed_of(("data", name), DataSpec)
        return typed | _typed_of(("params",), self.kind.params) | _typed_of(("compute",), ComputeSpec)

    def _fields(self, prefix: Path, model: type[BaseModel], seldom: bool | None) -> tuple[FormField, ...]:
        typed = _typed_of(prefix, model)
        return tuple(self._filled(t.field) for path, t in typed.items() if seldom is None or (path[-1] in SELDOM) is seldom)

    def _filled(self, field: FormField) -> FormField:
        return field.with_text(self.texts.get(field.path, ""))


def _typed_of(prefix: Path, model: type[BaseModel]) -> dict[Path, _Typed]:
    typed: dict[Path, _Typed] = {}
    for name, info in model.model_fields.items():
        path = (*prefix, name)
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        default = None if default is PydanticUndefined else default
        kinds = set(_branches(info.annotation))
        is_text = str in kinds
        field = FormField(
            path,
            name,
            default="" if default is None else literal(default, text=is_text),
            help=info.description or "",
            choices=_choices(info),
            suggestions=SUGGESTED.get(f"{prefix[0]}.{name}", ()),
            required=info.is_required(),
        )
        typed[path] = _Typed(field, default, is_text)
    return typed


def _branches(annotation: Any) -> Iterable[Any]:
    """The types a value may have; `X | None` gives X and NoneType."""
    if get_origin(annotation) in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _choices(info: FieldInfo) -> tuple[str, ...]:
    """What a field offers to pick from: the words of a Literal, or true and false; empty where anything may be typed."""
    branches = [branch for branch in _branches(info.annotation) if branch is not type(None)]
    if branches == [bool]:
        return ("false", "true")
    if len(branches) == 1 and get_origin(branches[0]) is Literal:
        return tuple(str(word) for word in get_args(branches[0]))
    return ()


def literal(value: Any, *, text: bool = False) -> str:
    """A value as one would type it: TOML on one line, but bare where the field takes text."""
    if isinstance(value, str):
        return value if text or not value or not _reads_otherwise(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(k))} = {_quoted(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_quoted(item) for item in value) + "]"
    return str(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else literal(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _reads_otherwise(text: str) -> bool:
    return bool(parse(text, is_text=False) != text)


def parse(text: str, *, is_text: bool) -> Any:
    """The value that was typed: TOML where it is TOML, else the text as it stands, for the check to object to."""
    text = text.strip()
    if is_text and not text.startswith(("[", "{", '"')):
        return text
    if NUMBER.fullmatch(text) and text.startswith((".", "+.", "-.")):
        text = text.replace(".", "0.", 1)
    elif NUMBER.fullmatch(text) and (text.endswith(".") or ".e" in text.lower()):
        return float(text)
    try:
        return untrusted.parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _leaves(tables: Mapping[str, Any], kind: Kind) -> dict[Path, Any]:
    """Values by the path of the field they belong to; a table that is one field's value, such as observables, stays whole."""
    values: dict[Path, Any] = {}
    for key, value in tables.items():
        depth = {"model": 1, "params": 1, "compute": 1, "data": 2}.get(key, 0)
        values |= _flatten((key,), value, depth)
    return values


def _flatten(path: Path, value: Any, depth: int) -> dict[Path, Any]:
    if depth and isinstance(value, Mapping):
        return {p: v for key, inner in value.items() for p, v in _flatten((*path, str(key)), inner, depth - 1).items()}
    return {path: value}


def _put(tables: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        tables = tables.setdefault(key, {})
    tables[path[-1]] = value
