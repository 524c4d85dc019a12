"""Activation records of scored prompts: how strongly each feature fires on each text, for a ranking to read."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Any, Literal

from pydantic import Field

from ..catalog import Estimate, Group, Result
from ..errors import Problem, UserError
from ..events import Event
from ..manifest import Manifest
from ..sites.site import site_name
from ..specs import FILE, Table
from . import _cost
from .context import Context

TITLE = "Record activations"
QUESTION = "How strongly does each feature fire on these prompts?"
GROUP: Group = "Features"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"prompts": "builtin:capital", "features": "hidden", "layers": [2]},
}
RESULT = (
    *("rows", "prompts", "features", "path", "site", "pool", "model", "prompts_per_second"),
    *("sae", "latents", "fitted_on", "positives"),
)
"""What stands at the top of its result.json."""


class Params(Table):
    """Which prompts, and which features of which layers."""

    prompts: str = Field(
        min_length=1,
        description="a .jsonl of {text, criterion_score, prompt_id}, or builtin:capital and the like, in every wording",
        json_schema_extra=FILE,
    )
    features: Literal["hidden", "sae", "direction"] = Field("hidden", description="hidden dimensions, SAE latents, or directions")
    site: str = Field("resid_post", description="where hidden dimensions and directions are read")
    layers: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, description="of which layers; an SAE says its own")
    sae: str | None = Field(None, description="a train_sae run, or a folder in the layout of SAE Lens", json_schema_extra=FILE)
    sae_name: str | None = Field(None, description="which one, where the run trained several")
    directions: str | None = Field(
        None, description="a .safetensors of vectors by name; the prompts' own contrast when left out", json_schema_extra=FILE
    )
    criterion: str = Field("", description="what the scores are about; names the contrast direction")
    fit_share: float = Field(0.5, gt=0, lt=1, description="share of the prompts that a contrast is fitted on; the rest are recorded")
    pool: Literal["last", "mean", "max", "tokens"] = Field("last", description="which token speaks for a prompt; tokens: a record each")
    max_length: int | None = Field(None, ge=1, description="cut prompts to this many tokens; longer than the model is an error")
    top_features: int = Field(0, ge=0, description="keep the strongest of each record; 0 keeps all that are not 0")
    model_name: str | None = Field(None, description="what the records call the model; its source when left out")
    gzip: bool = Field(False, description="write records.jsonl.gz")
    batch_tokens: int | None = Field(None, ge=1, description="tokens of one forward pass; left out: 1,024 on a CPU, 16,384 on a GPU")


def check(manifest: Manifest) -> list[Problem]:
    """Features without what they need."""
    params: Params = manifest.params
    problems = []
    if params.features == "sae" and params.sae is None:
        problems.append(Problem("params.sae", "is missing; features = 'sae' needs a train_sae run or a dictionary's folder"))
    for name, kind in (("sae", "sae"), ("sae_name", "sae"), ("directions", "direction")):
        if getattr(params, name) is not None and params.features != kind:
            problems.append(Problem(f"params.{name}", f"means nothing with features = {params.features!r}", value=getattr(params, name)))
    if params.features != "sae" and not params.layers:
        problems.append(Problem("params.layers", "is missing; layers are counted from 0, such as [2]", value=params.layers))
    if len(set(params.layers)) < len(params.layers):
        problems.append(Problem("params.layers", f"{params.layers} names a layer twice", value=params.layers))
    try:
        if site_name(params.site) in ("embed", "attn_pattern"):
            problems.append(Problem("params.site", f"{params.site!r} cannot be recorded; choose resid_post, mlp_out, …", value=params.site))
    except UserError as error:
        problems.append(Problem("params.site", f"{error.what}; {error.hint}", value=params.site))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """Time from one pass over the prompts, at four bytes a token of text."""
    from pathlib import Path

    size = _cost.parameters_of(manifest)
    path = Path(manifest.params.prompts)
    if size is None or not path.is_file():
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    tokens = path.stat().st_size / 4
    memory = _cost.memory(size.parameters, manifest.params.batch_tokens or 16_384)
    return Estimate(_cost.seconds(2 * size.parameters * tokens), memory, None, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, record, write; a window of prompts that is done is not done again after a kill."""
    from . import _records_run

    return (yield from _records_run.run(context, context.manifest.params))
