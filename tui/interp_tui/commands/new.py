"""`new`: a commented manifest that runs as it is, from a kind's example or from an earlier run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ..text.sanitise import clean
from .output import out_path, out_text
from .shared import find, kind_names, run_names

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from interp_tui_engine.catalog import Kind

WIDEST = 44


def new(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="What to do; left out, the kinds are listed.", autocompletion=kind_names)
    ] = None,
    file: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this new file instead of stdout.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Take the values from this run instead of the example.", autocompletion=run_names),
    ] = None,
    runs: Annotated[Path | None, typer.Option("--runs", metavar="DIR", help="Where run folders live.")] = None,
) -> int:
    """Write a commented manifest that runs as it is."""
    from interp_tui_engine import manifest
    from interp_tui_engine.errors import UserError

    tables: Mapping[str, Any]
    if run is not None:
        request = manifest.load(find(run, runs).manifest_path)
        if kind is not None and kind != request.kind:
            raise UserError(f"that run is of kind {request.kind}, not {kind}", "leave the kind out to take the run's own")
        template, tables = known_kind(request.kind), request.to_dict()
    elif kind is not None:
        template = known_kind(kind)
        tables = {"kind": template.name, "name": template.name, "seed": 100, **template.example}
    else:
        return _list_kinds()
    text = commented(template, tables, str(file) if file else f"{template.name}.toml")
    if file is None:
        out_text(text)
        return 0
    try:
        with file.expanduser().open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise UserError(f"file exists: {file}", "give another name to -o; nothing has been overwritten") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    out_path(file)
    return 0


def known_kind(name: str) -> Kind:
    """The kind of this name. Raises UserError offering the nearest one."""
    from interp_tui_engine import catalog
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.validation_errors import nearest

    names = catalog.kind_names()
    if name in names:
        return catalog.get(name)
    guess = nearest(name, names, 0.5)
    raise UserError(f"{name!r} is no kind; one of {', '.join(names)}", f"Did you mean {guess!r}?" if guess else "")


def _list_kinds() -> int:
    from interp_tui_engine import catalog

    from .output import columns, out, say

    kinds = catalog.kinds()
    for line in columns([kind.name, kind.question, kind.group] for kind in kinds):
        out(line)
    say("interp-tui new KIND -o FILE writes a manifest that runs as it is")
    return 0


def _step_table(name: str, table: Mapping[str, Any]) -> list[str]:
    """A table of a step, and the tables in it, as `interp-tui new` of the step's own kind explains them."""
    lines = [f"[{name}]", *(f"{key(inner)} = {toml(value)}" for inner, value in table.items() if not isinstance(value, Mapping))]
    for inner, value in table.items():
        lines += _step_table(f"{name}.{key(inner)}", value) if isinstance(value, Mapping) else []
    return lines


def commented(kind: Kind, tables: Mapping[str, Any], file: str) -> str:
    """The tables as TOML, each key beside what it means, and the keys that are left at their default as comments."""
    from interp_tui_engine.specs import ComputeSpec, DataSpec, ModelSpec

    top = [("name", tables["name"], "a short name for the run folder and the tables")]
    top.append(("seed", tables["seed"], "all randomness of the run follows from it"))
    lines = [
        f"# {kind.title}: {kind.question}",
        "#",
        f"#     interp-tui --batch {clean(file)}",
        "",
        f"kind = {toml(kind.name)}",
        *_aligned(top),
    ]
    if "model" in tables or "model" in kind.needs:
        lines += ["", "[model]", *_table(ModelSpec, tables.get("model", {}))]
    for name, data in tables.get("data", {}).items():
        lines += ["", f"[data.{key(name)}]", *_table(DataSpec, data)]
    lines += ["", "[params]", *_table(kind.params, tables.get("params", {}))]
    lines += ["", "[compute]", *_table(ComputeSpec, tables.get("compute", {}))]
    for step in tables.get("step", []):
        lines += ["", "[[step]]", *(f"{key(name)} = {toml(value)}" for name, value in step.items() if not isinstance(value, Mapping))]
        for name, table in step.items():
            lines += _step_table(f"step.{key(name)}", table) if isinstance(table, Mapping) else []
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """The keys that are given, then the others with their defaults, commented out."""
    fields = model.model_fields
    rows = [(key(name), value, about(fields[name]) if name in fields else "") for name, value in given.items()]
    for name, field in fields.items():
        if name not in given:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            rows.append((f"# {name}", default, about(field)))
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, Any, str]]) -> list[str]:
    """`key = value  # comment` with the comments in one column, but for values too long for that."""
    texts = [f"{name} = {toml(value)}" if value is not None else f"{name} =" for name, value, _ in rows]
    column = max((len(text) for text in texts if len(text) <= WIDEST), default=0) + 2
    lines = []
    for text, (_, _, comment) in zip(texts, rows, strict=True):
        first, *more = textwrap.wrap(" ".join(comment.split()), 100) or [""]
        lines.append(f"{text:<{column - 2}}  # {first}" if first else text)
        lines += [f"{'':<{column}}# {line}" for line in more]
    return lines


def about(field: FieldInfo) -> str:
    """A field's description, with its choices where the description does not name them."""
    text = field.description or ""
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    return f"{text}: {' | '.join(choices)}" if choices and not any(choice in text for choice in choices) else text


def key(name: str) -> str:
    """The name as TOML writes a key."""
    import tomli_w

    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")


def toml(value: Any) -> str:
    """The value as TOML writes it on one line."""
    import tomli_w

    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key(name)} = {toml(item)}" for name, item in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")
