"""What the kinds that read features off a model share: prompts, where features are read, checks. Torch-free at import."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ... import atomic
from ...errors import Problem, UserError
from ...features import ids
from ...features.prompts import Prompt, without_repeats
from ...features.prompts import read as read_prompts
from ...manifest import Manifest
from ...runtime import input_files, inputs
from ...specs import FILE, Table
from ...validation_errors import nearest
from .evidence_files import file_of

PROBES = "probes.safetensors"
"""Where a probe run keeps its probes."""
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"criterion": "the next token is a capital city", "prompts": "builtin:capital"},
}


class FeatureParams(Table):
    """Scored prompts, and the features that are read on them."""

    criterion: str = Field(min_length=1, description="the criterion in one sentence")
    prompts: str = Field(
        min_length=1, json_schema_extra=FILE, description="a .jsonl of {text, criterion_score, answer}, or builtin:capital and the like"
    )
    features: Literal["hidden", "sae", "direction"] = Field("hidden", description="hidden dimensions, an SAE's latents, or directions")
    sae: str | None = Field(None, json_schema_extra=FILE, description="an SAE's folder, or a train_sae run, for features = 'sae'")
    directions: str | None = Field(
        None, json_schema_extra=FILE, description="a contrast run, or a .safetensors of vectors by id, for features = 'direction'"
    )
    batch_size: int = Field(64, ge=1, description="prompts in one forward pass")


def check(manifest: Manifest) -> list[Problem]:
    """A relation that is none, an SAE missing or not used; files that do not hold what they should."""
    params: FeatureParams = manifest.params
    problems = []
    try:
        relation_of(params.prompts)
    except UserError as error:
        problems.append(Problem("params.prompts", f"{error.what}; {error.hint}", value=params.prompts))
    for name, kind in (("sae", "sae"), ("directions", "direction")):
        given = getattr(params, name)
        if params.features == kind and given is None:
            problems.append(Problem(f"params.{name}", f"is missing; features = {kind!r} reads it"))
        if params.features != kind and given is not None:
            problems.append(Problem(f"params.{name}", f"is given, but features = {params.features!r}", value=given))
    return problems or check_files(params) + inputs.target_problems(getattr(params, "targets", ()), params.features)


def check_files(params: Any) -> list[Problem]:
    """What is wrong with the files of prompts, SAE and directions that params name, and with prompts for what is measured of them."""
    problems: list[Problem] = []
    if (given := getattr(params, "directions", None)) is not None:
        problems += inputs.read("params.directions", given, _directions if hasattr(params, "layers") else _directions_by_id)[1]
    if (given := getattr(params, "sae", None)) is not None:
        problems += inputs.read("params.sae", given, sae_folder, getattr(params, "sae_name", None))[1]
    problems += check_report(params)
    if params.prompts is None:
        return problems
    if params.prompts.startswith("builtin:"):
        try:
            relation_of(params.prompts)
        except UserError as error:
            problems.append(inputs.problem("params.prompts", error, params.prompts))
        return problems
    prompts, wrong = inputs.read("params.prompts", params.prompts, read_prompts)
    problems += wrong
    if prompts is None or not hasattr(params, "metric"):
        return problems
    prompts, _ = without_repeats(prompts)
    if getattr(params, "shared_answers", False):
        return problems + (inputs.class_problems(prompts, (1, 1)) or inputs.shared_answer_problems(prompts, params.answers))
    positives, negatives = inputs.used(prompts, getattr(params, "most_prompts", len(prompts)))
    class_problems = inputs.class_problems(prompts, (2, 1) if hasattr(params, "verb") else (1, 1))
    return problems + (class_problems or inputs.answer_problems([*positives, *negatives], params.metric or "logprob", params.answers))


def check_report(params: Any) -> list[Problem]:
    """What is wrong with the report that params name, if they name one."""
    given = getattr(params, "report", None)
    return [] if given is None or given.startswith("builtin:") else inputs.read("params.report", given, _report)[1]


def check_records(key: str, given: str, *, scored: bool, model: str | None = None) -> list[Problem]:
    """What is wrong with a file of activation records, or with the first of them; `scored` where the scores in it count."""
    return inputs.read(key, given, _records, scored, model)[1]


def check_cards(key: str, given: str) -> list[Problem]:
    """What is wrong with an inspect run's report."""
    return [] if given.startswith("builtin:") else inputs.read(key, given, _cards)[1]


def _records(path: Path, scored: bool, model: str | None) -> None:
    (input_files.scored_records if scored else input_files.records)(file_of(str(path), "records"), model)


def _cards(path: Path) -> None:
    from ...features.cards import read_report

    read_report(file_of(str(path), "report"))


def _report(path: Path) -> None:
    report = atomic.read_json(file_of(str(path), "report"))
    cards = report.get("cards") if isinstance(report, dict) else None
    if not isinstance(cards, list) or not any(isinstance(card, dict) and isinstance(card.get("feature_id"), str) for card in cards):
        raise UserError(f"{path} is no report with cards", "give an inspect run that is done, or its report.json")


def _directions_by_id(path: Path) -> None:
    file = direction_file(path)
    if not any(ids.layer_of(name) is not None for name in input_files.tensors(file)):
        raise UserError(
            f"{file} holds no direction", "give a contrast run, or a .safetensors of vectors by id, such as direction:NAME:L2:x"
        )


def _directions(path: Path) -> None:
    if not input_files.tensors(direction_file(path)):
        raise UserError(f"{path} holds no vectors", "give a contrast run that is done, or a .safetensors of vectors")


def relation_of(source: str) -> str | None:
    """The relation that builtin:RELATION names; None for a file. Raises UserError with the nearest one."""
    from ...data import facts

    if not source.startswith("builtin:"):
        return None
    name, names = source.removeprefix("builtin:"), [relation.name for relation in facts.RELATIONS]
    if name not in names:
        guess = nearest(name, names, 0.5)
        hint = f"{f'did you mean builtin:{guess}? ' if guess else ''}there are builtin:{', builtin:'.join(names)}"
        raise UserError(f"there are no prompts called {source!r}", hint)
    return name


def prompts_of(source: str, *, every_wording: bool = False) -> list[Prompt]:
    """The prompts of the file, or those of all facts, the relation's scored 1; facts carry their answer and the wrong ones.

    A fact is one prompt, or with `every_wording` one for each of the sentences that state it, up to the answer.
    """
    relation = relation_of(source)
    if relation is None:
        return read_prompts(Path(source))
    from ...data.facts import RELATIONS

    prompts = []
    for asked in RELATIONS:
        answers = [f" {answer}" for answer in dict.fromkeys(asked.answers.values())]
        wordings = [template.removesuffix(" {a}.") for template in asked.templates] if every_wording else [asked.prompt]
        for subject, answer in asked.answers.items():
            extra = {"answer": f" {answer}", "wrong": [other for other in answers if other != f" {answer}"]}
            for number, wording in enumerate(wordings):
                name = f"{asked.name}-{subject}" + (f"-{number}" if every_wording else "")
                prompts.append(Prompt(wording.format(s=subject), float(asked.name == relation), name, extra))
    return prompts


def direction_file(given: str | Path) -> Path:
    """The file itself, or the one that a contrast run keeps. Raises UserError where the folder has none."""
    path = Path(given)
    if path.is_dir():
        path = path / "direction.safetensors"
        if not path.is_file():
            raise UserError(f"{given} holds no direction.safetensors", "give a contrast run that is done, or a .safetensors file")
    return path


def sae_folder(given: str | Path, name: str | None = None) -> Path:
    """The folder that holds a dictionary's cfg.json: the one named, or a run's; `name` picks one where the run trained several.

    A .json file is one of interp-lab's dictionaries, and stays as it is.

    Raises UserError where there is none, several, or none by that name.
    """
    path = Path(given)
    if (path / "cfg.json").is_file() or (path.suffix == ".json" and path.is_file()):
        return path
    folders = sorted(place.parent for place in path.glob("*/cfg.json")) + sorted(place.parent for place in path.glob("*/*/cfg.json"))
    chosen = folders if name is None or len(folders) == 1 else [folder for folder in folders if folder.name == name]
    if len(chosen) == 1:
        return chosen[0]
    if folders:
        what = "holds several dictionaries" if name is None else f"holds no dictionary {name!r}"
        listed = ", ".join(folder.name for folder in folders[:5]) + (", …" if len(folders) > 5 else "")
        raise UserError(f"{path} {what}", f"name the folder of one of them under {folders[0].parent}: {listed}")
    raise UserError(f"no dictionary in {path}", "give a train_sae run that is done, or a folder with cfg.json and sae_weights.safetensors")
