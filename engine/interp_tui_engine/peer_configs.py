"""Run files of interp (YAML) and interp-lab (JSON, TOML, YAML) as tables of a manifest. Torch-free.

A file in one of those forms that names no kind is a peer's: interp's names a prompt or a fact, interp-lab's a criterion or steps. What has
no counterpart here is refused with its key and what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import untrusted
from .errors import UserError

SUFFIXES = (".yaml", ".yml", ".json")
MODELS = {"qwen3-0.6b": "Qwen/Qwen3-0.6B"}
"""interp's short names of models; others are ids of a hub."""
METRICS = {"answer_prob": "prob"}
INSPECT = {
    **{name: name for name in ("criterion", "backend", "features", "interventions", "prompts")},
    **{"records": "records", "top_k": "cards", "allow_intervention_criterion_mismatch": "any_criterion"},
    **{
        "saelens_release": "repo",
        "saelens_sae_id": "sae_path",
        "scope_release": "repo",
        "scope_sae_id": "sae_path",
        "scope_source": "suite",
    },
}
"""interp-lab's keys of inspect and our params."""
FILES = ("records", "features", "interventions", "prompts", "left", "right")
COMPARE = {"left": "left", "right": "right", "min_score": "min_score", "top_k": "top"}


def is_peers(path: Path, tables: Mapping[str, Any] | None = None) -> bool:
    """Whether a file is a peer's by its form, or TOML tables are by what they hold."""
    if tables is None:
        return path.suffix.lower() in SUFFIXES
    return "kind" not in tables and ("steps" in tables or {"model", "criterion"} <= set(tables))


def read(path: Path) -> dict[str, Any]:
    """The file's tables. Raises UserError for one that cannot be read."""
    try:
        if path.suffix.lower() == ".json":
            tables = untrusted.read_json(path)
        else:
            import yaml  # type: ignore[import-untyped]

            try:
                tables = yaml.safe_load(untrusted.read_bytes(path, untrusted.MAX_TOML).decode("utf-8-sig"))
            except (yaml.YAMLError, RecursionError) as error:
                raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if not isinstance(tables, dict):
        raise UserError(f"{path} holds no table of settings", "a manifest is TOML; interp's and interp-lab's run files are read too")
    return {str(key): value for key, value in tables.items()}


def translated(tables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A peer's run file as a manifest's tables. Raises UserError for keys and commands without a counterpart."""
    if "kind" in tables:
        return dict(tables)  # ours, in another form
    if "fact_id" in tables or "prompt" in tables:
        return _interp(tables, path)
    if "steps" in tables or "criterion" in tables:
        return _interp_lab(tables, path)
    raise UserError(f"{path} is no run file that is known", "a manifest names its kind; interp's names a prompt, interp-lab's a criterion")


def _interp(tables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    known = {"model", "backend", "seed", "device", "prompt", "answer", "fact_id", "metric", "facts", "dtype"}
    _refuse(path, set(tables) - known, "interp's keys are " + ", ".join(sorted(known)))
    model = str(tables.get("model", "gpt2"))
    backend = str(tables.get("backend", "auto"))
    about = {"source": MODELS.get(model, model), "device": tables.get("device", "auto"), "dtype": tables.get("dtype", "float32")}
    about |= {} if backend == "auto" else {"backend": backend}
    common = {"name": path.stem, "seed": tables.get("seed", 0), "model": about}
    if "prompt" in tables:
        return {**common, "kind": "logit_lens", "params": {"prompt": tables["prompt"], "answer": tables.get("answer")}}
    fact = _fact(str(tables["fact_id"]), path, tables.get("facts"))
    metric = str(tables.get("metric", "logit_diff"))
    params = {
        **{"clean": fact.get("clean_prompt"), "corrupt": fact.get("corrupt_prompt"), "answer": fact.get("answer")},
        **{"counterfactual": fact.get("counterfactual_answer"), "metric": METRICS.get(metric, metric), "sites": ["resid_post"]},
    }
    return {**common, "kind": "causal_trace", "params": params}


def _fact(name: str, path: Path, given: object) -> Mapping[str, Any]:
    """A pair of interp's library: the file named, else data/facts.yaml beside the configs' folder."""
    places = [path.parent / str(given)] if given else [folder / "data" / "facts.yaml" for folder in path.absolute().parents[:3]]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(f"{path}: fact_id = {name!r}, and there is no {places[0]}", "facts = the library's file says where it is")
    facts = read(file).get("facts")
    if not isinstance(facts, Mapping) or not isinstance(facts.get(name), Mapping):
        have = ", ".join(map(str, facts)) if isinstance(facts, Mapping) else "none"
        raise UserError(f"{file} has no fact {name!r}", f"it has {have}")
    return dict(facts[name])


def _interp_lab(tables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    steps = tables.get("steps")
    if steps is None:
        kept = {key: value for key, value in tables.items() if key not in ("out", "run_dir", "html_out", "csv_out", "markdown_out")}
        return {"name": path.stem, **_inspect(kept, path)}
    if not isinstance(steps, list) or not steps:
        raise UserError(f"{path}: steps must be a list of at least one step")
    made: list[dict[str, Any]] = []
    folders: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        args = step.get("args") if isinstance(step, Mapping) else None
        if not isinstance(step, Mapping) or not isinstance(args, Mapping):
            raise UserError(f"{path}: step {number} has no table of args", "args as a list of words cannot be translated")
        name = _id(str(step.get("name", f"{number}-{step.get('command')}")))
        made.append({"id": name, **_step(str(step.get("command")), args, path, folders)})
        if args.get("out"):
            folders[_folder(str(args["out"]))] = name
    return {"kind": "pipeline", "name": path.stem, "step": made} if len(made) > 1 else {"name": path.stem, **_alone(made[0])}


def _alone(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != "id"}


def _step(command: str, args: Mapping[str, Any], path: Path, folders: Mapping[str, str]) -> dict[str, Any]:
    outputs = ("out", "html_out", "csv_out", "markdown_out")
    kept = {key: value for key, value in args.items() if key not in outputs}
    if command == "inspect":
        return _inspect(kept, path)
    if command in ("compare", "match"):
        _refuse(path, set(kept) - set(COMPARE), "compare takes " + ", ".join(COMPARE))
        params = {ours: kept[theirs] for theirs, ours in COMPARE.items() if theirs in kept}
        for side in ("left", "right"):
            made = folders.get(_folder(str(params.get(side, ""))))
            params[side] = f"${{{made}}}" if made else _file(params.get(side), path)
        return {"kind": "match", "params": {"assignment": "peer", **params}}
    raise UserError(f"{path}: there is no step {command!r} here", "inspect and compare are translated; others are kinds (interp-tui new)")


def _inspect(args: Mapping[str, Any], path: Path) -> dict[str, Any]:
    _refuse(path, set(args) - set(INSPECT) - {"model", "config_dir"}, "inspect takes " + ", ".join(sorted({"model", *INSPECT})))
    backend = str(args.get("backend", "toy"))
    params: dict[str, Any] = {INSPECT[key]: value for key, value in args.items() if key in INSPECT}
    params |= {"backend": {"jsonl": "features"}.get(backend, backend)}
    params |= {"model": args["model"]} if "model" in args else {}
    for key in FILES:
        if key in params:
            params[key] = [_file(given, path) for given in _several(params[key])] if key == "records" else _file(params[key], path)
    return {"kind": "inspect", "params": params}


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _file(given: Any, path: Path) -> Any:
    """A file as it is named there: from the folder of the run file, or, as interp-lab takes it, from the working folder."""
    text = str(given).replace("${config_dir}", str(path.absolute().parent))
    beside = path.absolute().parent / text
    return text if beside.exists() or not Path(text).exists() else str(Path(text).absolute())


def _folder(out: str) -> str:
    return out.removesuffix("/report.json").rstrip("/")


def _id(name: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return kept.strip("-") or "step"


def _refuse(path: Path, unknown: set[str], hint: str) -> None:
    if unknown:
        raise UserError(f"{path}: {', '.join(sorted(unknown))} cannot be translated", hint)
