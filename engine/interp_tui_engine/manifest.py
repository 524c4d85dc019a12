"""The manifest: what a user asks for, read from TOML, checked, resolved to the last default, and hashed. Torch-free."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli
import tomli_w
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from . import catalog
from .errors import ManifestError, Problem, UserError
from .specs import ComputeSpec, DataSpec, ModelSpec, Table
from .tomllines import KeyPath, key_lines, line_of

LOCAL_SUFFIXES = (".gguf", ".jsonl", ".txt", ".csv", ".parquet", ".safetensors", ".json", ".toml")
RECORDED = ("provenance", "result")
"""Tables that a run writes into its manifest and that a reader of the manifest passes over."""


class _Head(Table):
    kind: str
    name: str = Field("run", min_length=1, max_length=80, description="a short name for the run folder and the tables")
    seed: int = Field(100, ge=0, lt=2**63, description="all randomness of the run follows from it")
    model: ModelSpec | None = None
    data: dict[str, DataSpec] = Field(default_factory=dict)
    compute: ComputeSpec = Field(default_factory=lambda: ComputeSpec())
    params: dict[str, Any] = Field(default_factory=dict)


class Manifest(Table):
    """A checked and fully resolved run request: every default is filled in, every relative path made absolute."""

    kind: str
    name: str
    seed: int
    model: ModelSpec | None
    data: dict[str, DataSpec]
    params: Any
    """The kind's own Params."""
    compute: ComputeSpec

    def to_dict(self) -> dict[str, Any]:
        """The manifest as TOML tables; giving them back to `parse` gives an equal manifest. Unset optional keys are left out."""
        tables: dict[str, Any] = {"kind": self.kind, "name": self.name, "seed": self.seed}
        if self.model is not None:
            tables["model"] = _without_none(self.model.model_dump())
        if self.data:
            tables["data"] = {name: _without_none(spec.model_dump()) for name, spec in self.data.items()}
        tables["params"] = _without_none(self.params.model_dump())
        tables["compute"] = _without_none(self.compute.model_dump())
        return tables

    def to_toml(self, **recorded: Mapping[str, Any]) -> str:
        """The manifest as TOML text, with further tables such as provenance and result after it."""
        extra = {name: _without_none(dict(table)) for name, table in recorded.items() if table}
        return tomli_w.dumps(self.to_dict() | extra)

    def digest(self) -> str:
        """sha256 over what decides the numbers: everything but the name. Equal digests mean the same request."""
        tables = self.to_dict()
        del tables["name"]
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(v) for v in value]
    return value


def load(path: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Read, check and resolve a manifest file. Raises UserError if it cannot be read, ManifestError naming every problem in it."""
    path = path.expanduser()
    if path.is_dir():
        path = path / "manifest.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no such manifest: {path}", "interp-tui new llc > llc.toml writes one that runs as it is") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    return parse(text, source=str(path), base=path.absolute().parent, overrides=overrides)


def parse(text: str, *, source: str = "manifest", base: Path | None = None, overrides: Sequence[str] = ()) -> Manifest:
    """Check and resolve a manifest's text. `base` is the folder that relative paths start from; `overrides` are KEY=VALUE strings."""
    try:
        tables = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ManifestError(source, [Problem("TOML", error.msg, error.lineno)]) from None
    lines = key_lines(text)
    for override in overrides:
        _override(tables, lines, override)
    return resolve(tables, source=source, base=base or Path.cwd(), lines=lines)


def resolve(
    tables: Mapping[str, Any], *, source: str = "manifest", base: Path | None = None, lines: dict[KeyPath, int] | None = None
) -> Manifest:
    """Check tables against the kind's Params and fill in every default. Raises ManifestError naming all problems at once."""
    lines = lines or {}
    request = {key: value for key, value in tables.items() if key not in RECORDED}
    problems: list[Problem] = []

    kind = None
    name = request.get("kind")
    if name is None:
        problems.append(Problem("kind", f"is missing; one of {', '.join(catalog.kind_names())}", 1))
    elif name not in catalog.kind_names():
        problems.append(_problem(("kind",), f"{name!r} is no kind; one of {', '.join(catalog.kind_names())}", name, lines, catalog.kind_names()))
    else:
        kind = catalog.get(name)

    head = _validated(_Head, request, (), request, lines, problems, skip=("kind",) if name is None else ())
    params = None
    if kind is not None:
        given = request.get("params", {})
        if isinstance(given, Mapping):
            params = _validated(kind.params, given, ("params",), request, lines, problems)
        for need in sorted(kind.needs):
            if not request.get(need):
                table = "[data.NAME]" if need == "data" else f"[{need}]"
                problems.append(Problem(need, f"kind {kind.name} needs a {table} table", None))
    if kind is None or head is None or params is None or problems:
        raise ManifestError(source, sorted(problems, key=lambda p: p.line or 0))

    where = base or Path.cwd()
    manifest = Manifest(
        kind=head.kind,
        name=head.name,
        seed=head.seed,
        model=head.model.model_copy(update={"source": _located(head.model.source, where)}) if head.model else None,
        data={key: spec.model_copy(update={"source": _located(spec.source, where)}) for key, spec in head.data.items()},
        params=params,
        compute=head.compute,
    )
    found = [*_missing_files(manifest), *kind.check(manifest)]
    if found:
        raise ManifestError(source, [_with_line(problem, lines) for problem in found])
    return manifest


def _missing_files(manifest: Manifest) -> list[Problem]:
    sources = [("model.source", manifest.model.source)] if manifest.model else []
    sources += [(f"data.{name}.source", spec.source) for name, spec in manifest.data.items()]
    return [Problem(key, f"no such file or folder: {source}", value=source) for key, source in sources if Path(source).is_absolute() and not Path(source).exists()]


def _validated(
    model: type[Any],
    tables: Mapping[str, Any],
    prefix: KeyPath,
    whole: Mapping[str, Any],
    lines: dict[KeyPath, int],
    problems: list[Problem],
    skip: tuple[str, ...] = (),
) -> Any:
    try:
        return model.model_validate(dict(tables))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = _real_path((*prefix, *detail["loc"]), whole)
            if path[-1:] and path[-1] in skip:
                continue
            problem = _explain(detail, path, model, prefix, lines)
            if problem not in problems:
                problems.append(problem)
        return None


def _real_path(loc: KeyPath, whole: Any) -> KeyPath:
    """The part of pydantic's location that stands in the file: names of union branches and types are left out."""
    path: list[str | int] = []
    for index, key in enumerate(loc):
        if isinstance(whole, Mapping):
            if key not in whole and index < len(loc) - 1:
                continue
            path.append(key)
            whole = whole.get(str(key))
        elif isinstance(whole, list) and isinstance(key, int):
            path.append(key)
            whole = whole[key] if key < len(whole) else None
    return tuple(path)


def _explain(detail: ErrorDetails, path: KeyPath, model: type[Any], prefix: KeyPath, lines: dict[KeyPath, int]) -> Problem:
    if detail["type"] == "extra_forbidden":
        allowed = _keys_at(model, path[len(prefix) : -1])
        return _problem(path, f"is no key here; known: {', '.join(sorted(allowed))}", detail["input"], lines, allowed)
    if detail["type"] == "missing":
        return _problem(path, "is missing", None, lines)
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    said = detail["input"]
    text = f"{said!r}" if len(repr(said)) <= 80 else f"{repr(said)[:77]}…"
    verb = "should be " if detail["msg"].startswith("Input should be ") else ""
    expected = detail.get("ctx", {}).get("expected", "")
    choices = [choice.strip(" '") for choice in str(expected).replace(" or ", ", ").split(",")] if detail["type"] == "literal_error" else ()
    return _problem(path, f"{text} {verb}{message}" if verb else f"{text}: {message}", said, lines, choices)


def _keys_at(model: type[Any], path: KeyPath) -> list[str]:
    """The keys that the table at `path` below `model` may have."""
    current: Any = model
    for key in path:
        annotation = getattr(current, "model_fields", {}).get(key)
        options = [annotation.annotation, *getattr(annotation.annotation, "__args__", ())] if annotation else getattr(current, "__args__", ())
        current = next((o for o in options if hasattr(o, "model_fields")), next((o for o in options if hasattr(o, "__args__")), None))
        if hasattr(current, "__args__") and not hasattr(current, "model_fields"):
            nested = [o for o in current.__args__ if hasattr(o, "model_fields")]
            current = nested[0] if nested and key == path[-1] else current
    return list(getattr(current, "model_fields", {}))


def _problem(path: KeyPath, message: str, value: object, lines: dict[KeyPath, int], choices: Sequence[str] = ()) -> Problem:
    said = str(value) if isinstance(value, str) and choices and value not in choices else str(path[-1]) if path else ""
    wanted = said if isinstance(value, str) and path and str(path[-1]) not in choices and "is no key" not in message else str(path[-1]) if path else ""
    close = difflib.get_close_matches(wanted, list(choices), n=1, cutoff=0.5) if choices else []
    return Problem(_dotted(path), message, line_of(lines, path), value, close[0] if close else None)


def _with_line(problem: Problem, lines: dict[KeyPath, int]) -> Problem:
    line = problem.line or line_of(lines, tuple(problem.path.split(".")))
    return Problem(problem.path, problem.message, line, problem.value, problem.suggestion)


def _dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path) or "manifest"


def _override(tables: dict[str, Any], lines: dict[KeyPath, int], text: str) -> None:
    """Set one key from `a.b=VALUE`; VALUE is TOML, or a bare string where it is no TOML."""
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise UserError(f"--set {text}: not KEY=VALUE", "for instance --set params.lr=1e-5")
    try:
        parsed = tomli.loads(f"value = {value}")["value"]
    except tomli.TOMLDecodeError:
        parsed = value.strip()
    table: Any = tables
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {text}: {part} is a value, not a table")
    table[path[-1]] = parsed
    for end in range(1, len(path) + 1):
        if end == len(path):
            lines.pop(path[:end], None)


def _located(source: str, base: Path) -> str:
    """An absolute path where `source` means a file or folder beside the manifest; unchanged for builtin: and hub names."""
    if source.startswith("builtin:"):
        return source
    path = Path(source).expanduser()
    looks_local = path.is_absolute() or source.startswith((".", "~")) or source.endswith(LOCAL_SUFFIXES)
    if looks_local or (base / path).exists():
        return str((base / path).resolve())
    return source
