"""Which features of a model go with a criterion, and which of them cause it: a ranking on held-out evidence."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem
from ..events import Event
from ..manifest import Manifest
from ..specs import FILE, Table
from .context import Context

TITLE = "Inspect features"
QUESTION = "Which features go with this criterion, and which cause it?"
GROUP: Group = "Features"
NEEDS: frozenset[str] = frozenset()
EXAMPLE: dict[str, Any] = {
    "name": "planted",
    "params": {"criterion": "the text is about the planted topic", "backend": "toy"},
}
RESULT = (
    *("model", "criterion", "ranking", "rows", "held_out_rows", "held_out_positives", "groups", "features", "tested", "associated"),
    *("causal", "null_z_95", "cards", "table", "report"),
)
"""What stands at the top of its result.json."""
_READ_BY: dict[str, tuple[str, ...]] = {
    "records": ("records",),
    "features": ("features",),
    "sae": ("prompts", "sae"),
    "directions": ("prompts", "layers"),
    "neuronpedia": ("neuronpedia",),
    "saelens": ("repo", "latents"),
    "scope": ("repo", "sae_path", "latents"),
    "goodfire": ("model",),
    "toy": (),
}
"""The parameters that each backend cannot do without."""
_MAY = {("directions", "directions"), ("saelens", "sae_path")}
"""Those that it can."""
BYTES_A_SECOND = 40e6
"""Rate at which record files are read and ranked, on one core."""


class Params(Table):
    """Where the evidence is, and how it is weighed."""

    criterion: str = Field(min_length=1, description="the criterion in one sentence")
    backend: Literal["records", "features", "sae", "directions", "neuronpedia", "saelens", "scope", "goodfire", "toy"] = Field(
        "records",
        description="where features come from: files (records, features); [model] on prompts (sae, directions); services; a known truth",
    )
    records: list[str] = Field(default_factory=list, json_schema_extra=FILE, description="activation records: files or run folders")
    features: str | None = Field(None, json_schema_extra=FILE, description="features described without activations: a JSONL file")
    neuronpedia: list[str] = Field(
        default_factory=list, description="features such as 'gpt2-small@6-res_scefr-ajt:650'; NEURONPEDIA_BASE_URL and _API_KEY are heeded"
    )
    prompts: str | None = Field(
        None, json_schema_extra=FILE, description="scored prompts that sae and directions are recorded on; builtin:capital and the like"
    )
    sae: str | None = Field(None, json_schema_extra=FILE, description="backend sae: a train_sae run, or a folder in the layout of SAE Lens")
    directions: str | None = Field(
        None, json_schema_extra=FILE, description="backend directions: a .safetensors of vectors; the prompts' own contrast when left out"
    )
    layers: list[int] = Field(default_factory=list, description="backend directions: of which layers; an SAE says its own")
    repo: str | None = Field(None, description="backends saelens and scope: a repository on the hub; HF_ENDPOINT and HF_TOKEN are heeded")
    sae_path: str = Field("", description="… and the dictionary's folder in it (qwen-scope: its file, such as layer7)")
    suite: Literal["gemma-scope", "qwen-scope"] = Field("gemma-scope", description="backend scope: whose files they are")
    latents: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, description="… and which latents")
    search_top: int = Field(20, ge=1, le=1000, description="backend goodfire: how many features its search for the criterion may give")
    interventions: str | None = Field(None, json_schema_extra=FILE, description="intervention rows: a file or a run folder")
    any_criterion: bool = Field(False, description="use intervention rows that were made for another criterion too")
    model: str | None = Field(None, description="the model whose rows count, where a file has several")
    rule: str | None = Field(None, description="score texts by 'words: a, b' or 'regex: …' in place of the file's scores")
    judge: str | None = Field(None, description="score texts by a model behind this OpenAI-compatible URL; its key from INTERP_TUI_API_KEY")
    judge_model: str = Field("", description="the judge's model, as its endpoint names it")
    judge_calls: int = Field(500, ge=1, description="texts the judge is asked about at most; each text is asked about once")
    labeller: str | None = Field(
        None, description="label the features on cards by a model behind this OpenAI-compatible URL; its key from INTERP_TUI_API_KEY"
    )
    labeller_model: str = Field("", description="the labeller's model, as its endpoint names it")
    labeller_calls: int = Field(200, ge=1, description="questions the labeller is asked at most: two a feature, a label and its test")
    other_criteria: dict[str, str] = Field(default_factory=dict, description="name = rule: criteria a feature should be told apart from")
    ranking: Literal["evidence", "interp-lab"] = Field("evidence", description="held-out evidence, or the score of interp-lab 3.1")
    positive_above: float = Field(0.5, description="rows that score above this are positives")
    held_out: float = Field(0.5, ge=0.0, lt=1.0, description="share of the texts that numbers are reported on; 0 ranks on all")
    alpha: float = Field(0.05, gt=0.0, lt=1.0, description="false discovery rate")
    permutations: int = Field(200, ge=0, le=10_000, description="label shuffles for the family-wise null")
    min_rows: int = Field(5, ge=1, description="held-out rows a feature must fire on to be tested")
    cards: int = Field(50, ge=1, le=1000, description="features that get a card")
    examples: int = Field(5, ge=0, le=100, description="texts on a card")


def check(manifest: Manifest) -> list[Problem]:
    """A backend without its files, files of another backend, and rules that are none."""
    from ..errors import UserError
    from ..features.criteria import rule

    params: Params = manifest.params
    problems = []
    for name in _READ_BY[params.backend]:
        if not getattr(params, name):
            problems.append(Problem(f"params.{name}", f"is missing; backend {params.backend!r} reads it (backend 'toy' needs none)"))
    for name in sorted({name for names in _READ_BY.values() for name in names} | {"directions", "layers"}):
        allowed = name in _READ_BY[params.backend] or name == "model" or (params.backend, name) in _MAY
        if getattr(params, name) and not allowed:
            problems.append(Problem(f"params.{name}", f"is given, but backend is {params.backend!r}", suggestion=None))
    if params.backend in ("sae", "directions"):
        if manifest.model is None:
            problems.append(Problem("model", f"is missing; backend {params.backend!r} runs it on the prompts"))
        if params.rule is not None or params.judge is not None:
            name = "rule" if params.rule is not None else "judge"
            problems.append(Problem(f"params.{name}", "is given, but the prompts have scores of their own", value=getattr(params, name)))
    if params.judge is not None and params.rule is not None:
        problems.append(Problem("params.judge", "is given beside rule; give one or the other", value=params.judge))
    if params.judge is not None and not params.judge_model:
        problems.append(Problem("params.judge_model", "is missing; the judge needs the name of its model"))
    if params.labeller is not None and not params.labeller_model:
        problems.append(Problem("params.labeller_model", "is missing; the labeller needs the name of its model"))
    for key, text in [("rule", params.rule), *((f"other_criteria.{name}", text) for name, text in params.other_criteria.items())]:
        if text is None:
            continue
        try:
            rule(text)
        except UserError as error:
            problems.append(Problem(f"params.{key}", str(error).replace("\n  ", "; "), value=text))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """From the sizes of the files."""
    from ._evidence import file_of

    size = 0
    for given in manifest.params.records:
        path = file_of(given, "records") if Path(given).exists() else Path(given)
        size += path.stat().st_size * (8 if path.suffix == ".gz" else 1) if path.is_file() else 0
    return Estimate(2.0 + size / BYTES_A_SECOND, 150 << 20, max(64 << 10, size // 50))


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, rank, write cards. Begun anew after a kill: nothing in it takes long, and the same files give the same numbers."""
    from . import _inspect_run

    return (yield from _inspect_run.run(context))
