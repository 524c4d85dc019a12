"""A pipeline: kinds as steps of one run, later steps reading what earlier ones made. Torch-free.

    kind = "pipeline"

    [[step]]
    id = "train"
    kind = "train_sae"
    params = { layer = 2 }

    [[step]]
    id = "records"
    kind = "records"
    params = { features = "sae", sae = "${train}", prompts = "builtin:capital" }

`${train}` is the run folder of the step `train`; `${train.sae}` is what stands under `sae` in that step's result.json, made a path where
it names a file of that run. Steps take seed, model, data and compute from the pipeline, and may say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import catalog
from .errors import ManifestError, Problem
from .manifest_types import StepSpec as StepSpec
from .manifest_types import without_none
from .toml_lines import KeyPath
from .validation_errors import nearest, shown

KIND = "pipeline"
MAX_STEPS = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
REFERENCE = re.compile(r"\$\{([^{}]*)\}")
SHARED = ("criterion", "prompts")
"""Params of a pipeline that its steps take over where their kind must be given them and the step says nothing."""


def named(steps: Sequence[StepSpec]) -> list[StepSpec]:
    """The steps, each with an id."""
    return [step if step.id else step.model_copy(update={"id": step.kind}) for step in steps]


def step_called(steps: Sequence[Any], name: str) -> Any:
    """The table of the step with this id, kind or number, for a key such as `step.train.params.k`; None where there is none."""
    for index, table in enumerate(steps):
        if isinstance(table, dict) and name in (table.get("id") or table.get("kind"), str(index)):
            return table
    return None


def tables_of(mother: Mapping[str, Any], step: StepSpec) -> dict[str, Any]:
    """The manifest of one step as tables, references still in it."""
    shared = mother.get("params") or {}
    fields = catalog.get(step.kind).params.model_fields if step.kind in catalog.kind_names() else {}
    texts = [key for key in SHARED if key in fields and fields[key].is_required() and fields[key].annotation is str]
    taken = {key: shared[key] for key in texts if shared.get(key) and key not in step.params}
    tables: dict[str, Any] = {"kind": step.kind, "name": step.id, "seed": mother["seed"] if step.seed is None else step.seed}
    if model := {**(mother.get("model") or {}), **step.model}:
        tables["model"] = model
    if data := {**(mother.get("data") or {}), **step.data}:
        tables["data"] = data
    return tables | {"params": {**taken, **step.params}, "compute": dict(mother.get("compute") or {})}


def resolved(
    mother: Mapping[str, Any], steps: Sequence[StepSpec], resolve: Callable[..., Any], lines: Mapping[KeyPath, int]
) -> tuple[list[StepSpec], list[Problem]]:
    """The steps with every default filled in and every path made absolute, and what is wrong with them.

    `resolve(tables, lines=…)` checks one step as a manifest of its own.
    """
    done, problems = [], problems_of(steps)
    broken = {problem.path.rpartition(".params")[0] for problem in problems}
    for index, step in enumerate(steps):
        at = f"step.{index}"
        shared = {path: line for path, line in lines.items() if path and path[0] in ("seed", "model", "data", "compute")}
        own = {path[2:]: line for path, line in lines.items() if path[:2] == ("step", index) and len(path) > 2}
        try:
            manifest = resolve(tables_of(mother, step), lines=shared | own)
        except ManifestError as error:
            own_problems = [problem for problem in error.problems if not (at in broken and REFERENCE.search(str(problem.value)))]
            problems += [Problem(f"step.{step.id}.{p.path}", p.message, p.line, p.value, p.suggestion) for p in own_problems]
            continue
        model = manifest.model.model_dump() if manifest.model else {}
        update = {
            "model": {key: model[key] for key in step.model},
            "data": {name: without_none(manifest.data[name].model_dump()) for name in step.data},
            "params": without_none(manifest.params.model_dump()),
        }
        done.append(step.model_copy(update=update))
    return done, problems


def problems_of(steps: Sequence[StepSpec]) -> list[Problem]:
    """Names that cannot be used, and references to what is not there yet, or never will be."""
    problems = [] if steps else [Problem("step", "is missing; a pipeline is made of [[step]] tables, each with a kind and its params")]
    if len(steps) > MAX_STEPS:
        problems.append(Problem("step", f"makes {len(steps)} steps, more than {MAX_STEPS}"))
    seen: list[str] = []
    kinds: dict[str, str] = {}
    for index, step in enumerate(steps):
        at = f"step.{index}"
        if not NAME.fullmatch(step.id):
            message = f"{shown(step.id)} cannot be a folder's name; letters, digits, '_' and '-', at most 40"
            problems.append(Problem(f"{at}.id", message, value=step.id))
        elif step.id.lower() in map(str.lower, seen):
            problems.append(Problem(f"{at}.id", f"{step.id!r} is the id of an earlier step too; ids tell steps apart", value=step.id))
        if step.kind == KIND:
            problems.append(Problem(f"{at}.kind", "a pipeline cannot be a step; write its steps here", value=step.kind))
        for path, text in texts_of({"model": step.model, "data": step.data, "params": step.params}):
            for name, key in references(text):
                if name not in seen or key == "":
                    before = f"earlier steps are {', '.join(seen)}" if seen else "there is none before the first"
                    message = f"{shown(text)} names no earlier step; {before}"
                    key_path = ".".join((at, *map(str, path)))
                    problems.append(Problem(key_path, message, value=text, suggestion=nearest(name, seen)))
                elif key and (keys := result_keys(kinds[name])) and (head := key.partition(".")[0]) not in keys:
                    message = f"{shown(text)}: the result of a {kinds[name]} step has no {head!r}; there are {', '.join(sorted(keys))}"
                    problems.append(Problem(".".join((at, *map(str, path))), message, value=text, suggestion=nearest(head, sorted(keys))))
        seen.append(step.id)
        kinds[step.id] = step.kind
    return problems


def result_keys(kind: str) -> frozenset[str]:
    """The names at the top of the kind's result.json; empty where they are not known before it has run."""
    listed = catalog.get(kind).result if kind in catalog.kind_names() else None
    return frozenset(field.alias or name for name, field in listed.model_fields.items()) if listed else frozenset()


def references(text: str) -> list[tuple[str, str | None]]:
    """The step, and the key of its result, that each `${…}` in the text names; the key is None where the run folder is meant."""
    parts = (match.partition(".") for match in REFERENCE.findall(text))
    return [(name.strip(), key.strip() if dot else None) for name, dot, key in parts]


def needs_of(step: StepSpec) -> list[str]:
    """The earlier steps that a step reads from, in the order it first names them."""
    texts = (text for _, text in texts_of({"model": step.model, "data": step.data, "params": step.params}))
    return list(dict.fromkeys(name for text in texts for name, _ in references(text)))


def filled(value: Any, known: Callable[[str, str | None], str]) -> Any:
    """The tables with each `${name}` or `${name.key}` in their texts replaced by `known(name, key)`."""
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: known(*references(match[0])[0]), value)
    if isinstance(value, Mapping):
        return {key: filled(item, known) for key, item in value.items()}
    return [filled(item, known) for item in value] if isinstance(value, list) else value


def texts_of(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text in nested tables and lists, with the path it stands at."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (Mapping, list)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from texts_of(item, (*path, key))
