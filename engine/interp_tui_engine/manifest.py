"""The manifest: what a user asks for, read from TOML, checked, resolved to the last default, and hashed. Torch-free."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tomli
from pydantic import Field, ValidationError, create_model

from . import catalog, cluster_settings, peer_configs, untrusted
from . import pipeline as pipelines
from . import sweep as sweeps
from .errors import ManifestError, Problem, UserError
from .manifest_files import located, missing_files, with_located_files
from .manifest_history import as_it_was_made
from .manifest_types import Manifest as Manifest
from .manifest_types import StepSpec
from .specs import ComputeSpec, DataSpec, ModelSpec, Table, devices_problem
from .toml_lines import KeyPath, key_lines, split_key
from .validation_errors import ManifestOrigin, explain, nearest

RECORDED = ("provenance", "result")
"""Tables that a run writes into its manifest and that a reader of the manifest passes over."""


LARGEST = 10**9
"""The largest whole number in a manifest."""
LARGEST_REAL = 1e15
"""The largest other number: products of two or three of them are numbers in float32 still."""
MOST = {"seed": 2**63 - 1, "tokens": 10**13, "resamples": 10**7, "shuffles": 10**7, "permutations": 10**7}
"""And that of keys with these in their names."""


class _Request(Table):
    kind: str = Field(description="what to do; interp-tui new lists the kinds")
    name: str = Field("run", min_length=1, max_length=80, description="a short name for the run folder and the tables")
    seed: int = Field(100, ge=0, lt=2**63, description="all randomness of the run follows from it")
    model: ModelSpec | None = Field(None, description="which model")
    data: dict[str, DataSpec] = Field(default_factory=dict, description="data sets by the names that params call them")
    params: dict[str, Any] = Field(default_factory=dict, description="the kind's own parameters")
    compute: ComputeSpec = Field(
        default_factory=lambda: ComputeSpec.model_validate({}), description="how the work is laid out on the machine"
    )
    sweep: dict[str, list[Any]] = Field(default_factory=dict, description="keys to vary, each with its values; one child run a combination")


def points_of(request: Manifest) -> list[tuple[sweeps.Point, Manifest]]:
    """The child runs of a sweep, in order; empty when the manifest is none."""
    tables = request.to_dict()
    axes, _ = sweeps.axes_of(request.sweep, tables.get("step", ())) if request.sweep else ([], [])
    points = (point for point in sweeps.points_of(axes)) if axes else ()
    return [(p, resolve({**sweeps.with_values(tables, axes, p), "name": f"{request.name[:70]}-{p.name}"})) for p in points]


def request_model(kind: catalog.Kind) -> type[Table]:
    """The pydantic model of a manifest of this kind as a user writes it: for validation, JSON Schema and forms."""
    name: Any = Literal[kind.name]
    steps: dict[str, Any] = {"step": (list[StepSpec], ...)} if kind.name == pipelines.KIND else {}
    return create_model(f"{kind.name}_manifest", __base__=_Request, kind=(name, ...), params=(kind.params, ...), **steps)


def load(path: Path, overrides: Sequence[str] = ()) -> Manifest:
    """Read, check and resolve a manifest file, or that of a run folder.

    Raises UserError if it cannot be read, ManifestError naming every problem in it.
    """
    with contextlib.suppress(RuntimeError, OSError):  # the home of an unknown user, a name too long: read_text says so
        path = path.expanduser()
        path = path / "manifest.toml" if path.is_dir() else path
    if peer_configs.is_peers(path) and path.is_file():
        return _of_peer(peer_configs.read(path), path, overrides)
    return parse(read_text(path), source=str(path), base=path.absolute().parent, overrides=overrides)


def read_text(path: Path) -> str:
    """The text of a manifest file. Raises UserError if there is none to read."""
    try:
        return untrusted.read_bytes(path, untrusted.MAX_TOML).decode("utf-8-sig")  # some editors begin a file with a mark
    except untrusted.Damaged as error:
        raise UserError(f"not a manifest: {path} is {error}", "a manifest is a small TOML file") from None
    except FileNotFoundError:
        raise UserError(f"no such manifest: {path}", "interp-tui new llc > llc.toml writes one that runs as it is") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"not a manifest: {path} is no UTF-8 text", "a manifest is a small TOML file") from None
    except ValueError as error:
        raise UserError(f"not a path: {str(path)!r}: {error}") from None


def parse(text: str, *, source: str = "manifest", base: Path | None = None, overrides: Sequence[str] = ()) -> Manifest:
    """Check and resolve a manifest's text. `base` is the folder that relative paths start from; `overrides` are KEY=VALUE strings."""
    try:
        tables = untrusted.parse_toml(text)
        lines = key_lines(text)
    except tomli.TOMLDecodeError as error:
        raise ManifestError(source, [_syntax_problem(error)]) from None
    except untrusted.Damaged as error:
        raise ManifestError(source, [Problem("TOML", str(error))]) from None
    if peer_configs.is_peers(Path(source), tables):
        return _of_peer(tables, Path(source), overrides)
    problems, origins = override(tables, overrides)
    if problems:
        raise ManifestError(source, problems)
    return resolve(tables, source=source, base=base, lines=lines, origins=origins)


def _of_peer(tables: dict[str, Any], path: Path, overrides: Sequence[str]) -> Manifest:
    """A run file of interp's or interp-lab's, checked as a manifest is."""
    made = peer_configs.translated(tables, path)
    problems, origins = override(made, overrides)
    if problems:
        raise ManifestError(str(path), problems)
    return resolve(made, source=str(path), base=path.absolute().parent, origins=origins)


def resolve(
    tables: Mapping[str, Any],
    *,
    source: str = "manifest",
    base: Path | None = None,
    lines: Mapping[KeyPath, int] | None = None,
    origins: Mapping[KeyPath, str] | None = None,
) -> Manifest:
    """Check tables against the kind's Params and fill in every default. Raises ManifestError naming all problems at once."""
    tables = {"params": {}, **{key: value for key, value in as_it_was_made(tables).items() if key not in RECORDED}}
    if isinstance(tables.get("sweep"), dict):
        return _resolve_sweep(tables, source, base, dict(lines or {}), origins or {})
    given = ManifestOrigin(lines or {}, origins or {})
    names = catalog.kind_names()
    kind = catalog.get(tables["kind"]) if tables.get("kind") in names else None
    problems = [] if kind else [_kind_problem(tables, given)]
    model = request_model(kind) if kind else _Request
    request: Any = None
    try:
        request = model.model_validate(tables)
    except ValidationError as error:
        problems_found = explain(error.errors(include_url=False), model, tables, given)
        problems += [problem for problem in problems_found if kind or problem.path != "kind"]
    if kind:
        problems += _missing_tables(kind, tables, {problem.suggestion for problem in problems})
    if request is None or kind is None or problems:
        raise ManifestError(source, sorted(problems, key=lambda problem: problem.line or 0))

    where = base or Path.cwd()
    manifest = Manifest(
        kind=request.kind,
        name=request.name,
        seed=request.seed,
        model=request.model.model_copy(update={"source": located(request.model.source, where)}) if request.model else None,
        data={key: spec.model_copy(update={"source": located(spec.source, where)}) for key, spec in request.data.items()},
        params=with_located_files(request.params, where),
        compute=request.compute,
    )
    problems_found = [
        *_too_large(tables),
        *missing_files(manifest),
        *cluster_settings.problems(manifest),
        *_device_problems(manifest),
        *_precision_problems(manifest),
        *kind.check(manifest),
    ]
    if kind.name == pipelines.KIND:
        check = partial(resolve, base=where)
        steps, wrong = pipelines.resolved(manifest.to_dict(), pipelines.named(request.step), check, given.lines)
        manifest, problems_found = manifest.model_copy(update={"step": steps}), [*problems_found, *wrong]
    if problems_found:
        raise ManifestError(source, sorted(map(given.located, problems_found), key=lambda problem: problem.line or 0))
    return manifest


def _resolve_sweep(
    tables: dict[str, Any], source: str, base: Path | None, lines: dict[KeyPath, int], origins: Mapping[KeyPath, str]
) -> Manifest:
    """Check every point of a sweep. The manifest is that of the first, with the axes beside it, their values resolved as a point's are."""
    steps = tables.get("step")
    axes, problems = sweeps.axes_of(tables["sweep"], steps if isinstance(steps, list) else ())
    if (devices := sweeps.devices_of(tables)) and (message := devices_problem(devices)):
        problems.append(Problem("compute.devices", message, value=devices))  # the points have it as their model.device
    if problems:
        raise ManifestError(source, [ManifestOrigin(lines, origins).located(problem) for problem in problems])
    placed = lines | {axis.path: lines[("sweep", axis.key)] for axis in axes if ("sweep", axis.key) in lines}
    resolved: list[tuple[sweeps.Point, Manifest]] = []
    distinct: dict[str, Problem] = {}
    for point in sweeps.points_of(axes):
        try:
            manifest = resolve(sweeps.with_values(tables, axes, point), source=source, base=base, lines=placed, origins=origins)
            resolved.append((point, manifest))
        except ManifestError as error:
            distinct |= {str(problem): problem for problem in error.problems}
    if distinct:
        raise ManifestError(source, sorted(distinct.values(), key=lambda problem: problem.line or 0))
    values: dict[str, dict[Any, Any]] = {axis.key: {} for axis in axes}
    for point, manifest in resolved:
        made = manifest.to_dict()
        for axis in axes:
            values[axis.key].setdefault(json.dumps(point.values[axis.key]), sweeps.value_at(made, axis.path))
    axis_values = {key: list(by_value.values()) for key, by_value in values.items()}
    first = resolved[0][1]
    compute = first.compute.model_copy(update={"devices": sweeps.devices_of(tables) or "auto"})
    return first.model_copy(update={"name": tables.get("name", first.name), "compute": compute, "sweep": axis_values})


def override(tables: dict[str, Any], settings: Sequence[str]) -> tuple[list[Problem], dict[KeyPath, str]]:
    """Set keys of the tables from `a.b=VALUE` strings; VALUE is TOML, or plain text where it is no TOML.

    Returns what was wrong with them, and which path each of them set.
    """
    problems: list[Problem] = []
    origins: dict[KeyPath, str] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        try:
            path = split_key(key.strip())
        except ValueError:
            path = ()
        if not equals or not path:
            problems.append(Problem(f"--set {text}", "is not KEY=VALUE; for instance --set params.lr=1e-5"))
            continue
        table: Any = tables
        for end, part in enumerate(path[:-1], start=1):
            if isinstance(table, dict):
                table = table.setdefault(part, {})
            elif isinstance(table, list):
                table = pipelines.step_called(table, part)
            if not (isinstance(table, dict) or (isinstance(table, list) and path[:end] == ("step",))):
                message = f"{'.'.join(path[:end])} is {'no step' if path[: end - 1] == ('step',) else 'a value, not a table'}"
                problems.append(Problem(f"--set {text}", message))
                break
        else:
            table[path[-1]] = _value(value.strip())
            origins[path] = text
    return problems, origins


def _value(text: str) -> Any:
    try:
        parsed = untrusted.parse_toml(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _syntax_problem(error: tomli.TOMLDecodeError) -> Problem:
    row = error.doc.split("\n")[error.lineno - 1].strip() if error.lineno <= error.doc.count("\n") + 1 else ""
    return Problem("TOML", f"{error.msg}, at column {error.colno}{f' of {row[:80]!r}' if row else ''}", error.lineno)


def _kind_problem(tables: Mapping[str, Any], given: ManifestOrigin) -> Problem:
    names = catalog.kind_names()
    if "kind" not in tables:
        return Problem("kind", f"is missing; one of {', '.join(names)}", 1)
    value = tables["kind"]
    guess = nearest(value, names, 0.5) if isinstance(value, str) else None
    return given.problem(("kind",), f"{value!r} is no kind; one of {', '.join(names)}", value, guess)


def _missing_tables(kind: catalog.Kind, tables: Mapping[str, Any], misspelt: set[str | None]) -> list[Problem]:
    """What the kind needs and is not there. An empty [model] is all defaults, but data must be given a name."""
    problems = []
    for need in sorted(kind.needs - misspelt):
        if need not in tables or (need == "data" and tables[need] == {}):
            table = "[data.NAME]" if need == "data" else f"[{need}]"
            problems.append(Problem(need, f"is missing; kind {kind.name} needs a {table} table"))
    return problems


def _precision_problems(manifest: Manifest) -> list[Problem]:
    """bf16 where nothing is sampled: there are no weights to keep in float32 behind it."""
    if manifest.compute.precision != "bf16" or manifest.kind == "pipeline" or hasattr(manifest.params, "sampling_data"):
        return []
    message = f"'bf16' keeps the weights that chains move in float32, and {manifest.kind} moves none; use model.dtype = 'bfloat16'"
    return [Problem("compute.precision", message, value="bf16")]


def _device_problems(manifest: Manifest) -> list[Problem]:
    """What does not go with compute.devices. A sweep has given each of its points one of them, and the points have none."""
    devices, kind = manifest.compute.devices, catalog.get(manifest.kind)
    together = manifest.compute.gpus_per_worker
    if problems_found := _split_problems(manifest, kind):
        return problems_found
    if together > 1 and kind.follow is None:
        able = ", ".join(other.name for other in catalog.kinds() if other.follow)
        message = f"{kind.name} needs its model on one device; {able} can hold it on several"
        return [Problem("compute.gpus_per_worker", message, value=together)]
    if together > 1 and devices != "auto":
        message = f"and gpus_per_worker = {together} both say where to compute: leave devices out; the GPUs from model.device on are taken"
        return [Problem("compute.devices", message, value=devices)]
    if devices == "auto" or manifest.compute.executor == "slurm":
        return []
    messages = []
    if len(devices) > 1 and kind.sharding is None:
        shared = ", ".join(other.name for other in catalog.kinds() if other.sharding)
        messages.append(f"{kind.name} runs on one device; {shared} are shared out to several, and so are the runs of a sweep")
    if len({device.partition(":")[0] for device in devices}) > 1:
        messages.append("are of different kinds, on which the same chain gives different numbers; name devices of one kind")
    if manifest.model is not None and manifest.model.device != "auto":
        messages.append(f"and model.device = {manifest.model.device!r} both say where to compute; leave one of them out")
    return [Problem("compute.devices", message, value=devices) for message in messages]


def _split_problems(manifest: Manifest, kind: catalog.Kind) -> list[Problem]:
    """What does not go with model.parallel. What the model's architecture does not allow is known when it is loaded."""
    split = manifest.model.devices if manifest.model is not None else 1
    if manifest.model is None or split < 2:
        return []
    path, messages = "model.parallel", []
    if kind.follow is not None:
        messages.append(f"splits matrices that are only read, and {kind.name} moves weights; use compute.gpus_per_worker = {split}")
    elif not kind.splittable and kind.name != pipelines.KIND:
        able = ", ".join(other.name for other in catalog.kinds() if other.splittable)
        messages.append(f"{kind.name} needs its model on one device; {able} can have it split")
    if manifest.model.backend != "transformers":
        messages.append(f"splits models of transformers, not of {manifest.model.backend}; leave model.backend out")
    if manifest.model.device == "mps":
        messages.append("splits over cpu or cuda devices; there is one mps")
    if manifest.compute.gpus_per_worker > 1:
        messages.append("and compute.gpus_per_worker both say how many devices hold the model; leave one of them out")
    if manifest.compute.devices != "auto":
        messages.append("and compute.devices both say where to compute: leave devices out; the GPUs from model.device on are taken")
    return [Problem(path, message, value={"tensor": split}) for message in messages]


def _too_large(value: Any, path: str = "") -> Iterator[Problem]:
    """Numbers beyond what any run could do: no field needs a bound of its own against 2**63 resamples, or an n_beta of 1e308."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _too_large(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _too_large(inner, f"{path}.{index}")
    elif isinstance(value, int):
        most = next((bound for part, bound in MOST.items() if part in path.rpartition(".")[2]), LARGEST)
        if abs(value) > most:
            yield Problem(path, f"{value!r:.40} is more than a run could do; at most {most:,}", value=value)
    elif isinstance(value, float) and abs(value) > LARGEST_REAL:
        yield Problem(path, f"{value!r} is more than a run can compute with; at most {LARGEST_REAL:g}", value=value)
