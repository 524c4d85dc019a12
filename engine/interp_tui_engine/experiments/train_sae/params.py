"""What train_sae is told, its presets and its checks. Torch-free."""

from __future__ import annotations

import sys
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, model_validator

from ...dictionaries.names import ARCHITECTURES, NAMES, ArchitectureName, Sparsity
from ...errors import Problem, UserError
from ...manifest import Manifest
from ...runtime import input_files, inputs
from ...sites.site import Site, site_name
from ...specs import FILE, Table
from .._features import check_records

Count = Annotated[int, Field(ge=1)]
Coefficient = Annotated[float, Field(ge=0)]
MOST_SAES = 32
T = TypeVar("T")
Several = Annotated[list[T], Field(min_length=1)]

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "minimal": {"expansion": 1.0, "architecture": "relu", "epochs": 50.0, "batch_size": 64, "positions": "last", "lr": 1e-3, "l1": 1e-3},
    "production": {"expansion": 4.0, "architecture": "topk", "k": 32, "epochs": 500.0, "batch_size": 256, "positions": "all", "lr": 1e-3},
}
"""What a preset sets where the manifest does not; `fast` is the defaults below."""


class Params(Table):
    """What the dictionary learns from, how wide and how sparse it is, and how it is trained. Lists train several on one pass."""

    preset: Literal["fast", "minimal", "production"] = Field(
        "fast", description="defaults: fast, or minimal or production as in interp-lab"
    )
    train_data: str | Several[str] = Field("train", description="which [data.NAME] the model reads; several are read together")
    site: str = Field("resid_post", description="where activations are read: resid_post, mlp_out, attn_out, z, …")
    layer: int | None = Field(None, ge=0, description="of which layer; needed for every site but embed")
    architecture: ArchitectureName | Several[ArchitectureName] = Field("topk", description=", ".join(NAMES))
    expansion: float = Field(8.0, gt=0, le=10_000, description="latents as a multiple of the width, where latents is left out")
    latents: Count | Several[Count] | None = Field(None, description="how many latents")
    k: Count | Several[Count] = Field(32, description="active latents a token: exact (topk), on average (batch_topk), aimed at (jumprelu)")
    l1: Coefficient | Several[Coefficient] = Field(0.01, description="relu, gated: weight of Σz beside the squared error a dimension")
    l0: Coefficient = Field(1.0, description="jumprelu: weight of the pull of L0 towards k")
    bandwidth: float = Field(2.0, gt=0, description="jumprelu: width of the kernel around the threshold")
    threshold: float = Field(1.0, gt=0, description="jumprelu: the threshold at the start")
    prefixes: Count = Field(4, description="matryoshka: nested dictionaries, each half of the next")
    architecture_settings: dict[str, float] = Field(default_factory=dict, description="settings that one architecture alone has")
    epochs: float = Field(10.0, gt=0, le=1e9, description="passes over the activations, where tokens is left out")
    tokens: Count | None = Field(None, description="activations to train on in all")
    batch_size: Count = Field(1024, description="activations a step")
    lr: float = Field(2e-3, gt=0, description="Adam's learning rate on its plateau")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps over which lr rises")
    decay: float = Field(0.3, ge=0, le=1, description="share of the steps, at the end, over which lr falls to 0")
    sparsity_warmup: float = Field(0.2, ge=0, le=1, description="share of the steps over which l1 or l0 rise")
    auxk: Coefficient = Field(1 / 32, description="weight of the dead latents' error (topk, batch_topk, matryoshka); 0 is off")
    k_aux: Count | None = Field(None, description="dead latents a token that it uses; half of the width when left out")
    dead_tokens: Count = Field(200_000, description="a latent that has not fired for this many tokens is dead")
    positions: Literal["all", "last"] = Field("all", description="every position of a row, or its last one")
    skip_positions: int = Field(1, ge=0, description="leading positions left out: the first is an attention sink in most models")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the rows that are held out to measure on")
    normalise: bool = Field(True, description="scale activations to norm √width for training; undone in the saved weights")
    buffer: Count = Field(262_144, description="activations held in memory; if all fit, the model runs over the data once")
    products: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="precision of the forward pass's products: bf16 on NVIDIA GPUs ('auto'), or as said; weights are float32"
    )
    seeds: int = Field(
        1, ge=1, le=2, description="2 trains each dictionary from another start too, and says which latents both have; takes twice as long"
    )
    records: str | None = Field(None, description="train on this activation-record file instead of a model", json_schema_extra=FILE)
    records_model: str | None = Field(None, description="take the records of this model alone")
    max_records: Count | None = Field(None, description="train on a random sample of this many records")
    store: str | None = Field(None, description="train on stored activations instead: .npy, or a Zarr array", json_schema_extra=FILE)

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, given: Any) -> Any:
        preset = PRESETS.get(given.get("preset", "fast")) if isinstance(given, dict) and isinstance(given.get("preset", ""), str) else None
        return {**preset, **given} if preset else given


class Variant(NamedTuple):
    """One dictionary of a run."""

    name: str
    architecture: ArchitectureName
    latents: int
    sparsity: Sparsity


def variants(params: Params, width: int) -> list[Variant]:
    """The dictionaries asked for, of activations that wide: the product of what is given as lists, each once."""
    latents = listed(params.latents) if params.latents is not None else [max(1, round(params.expansion * width))]
    by_name: dict[str, Variant] = {}
    for architecture, m, k, l1 in product(listed(params.architecture), latents, listed(params.k), listed(params.l1)):
        described = ARCHITECTURES[architecture]
        sparse = f"k{k}" if described.has_k else f"l1_{l1:g}"
        name = f"{architecture}-{m}-{sparse}"
        # the architectures add Σz to the squared error summed over the width
        own = described.check({name: value for name, value in params.architecture_settings.items() if name in described.own})
        sparsity = Sparsity(k, l1 * width, params.l0, params.bandwidth, params.threshold, params.prefixes, own)
        by_name.setdefault(name, Variant(name, architecture, m, sparsity))
    return list(by_name.values())


def site_of(params: Params) -> Site:
    """The site asked for. Raises UserError for one there is not."""
    name = site_name(params.site)
    return Site(name, None if name == "embed" else params.layer)


def check(manifest: Manifest) -> list[Problem]:
    """What pydantic cannot see."""
    params: Params = manifest.params
    problems = []
    if params.records and params.store:
        problems.append(Problem("params.store", "is given beside params.records; one source of activations is enough", value=params.store))
    elif not (params.records or params.store):
        problems += _model_problems(manifest) or inputs.data_problems(manifest.data, listed(params.train_data))
    if params.store and not problems:
        problems += inputs.read("params.store", params.store, input_files.stored_array, most_bytes=sys.maxsize)[1]
    if params.records and not problems:
        problems += check_records("params.records", params.records, scored=False, model=params.records_model)
    if not params.records:
        for name in ("records_model", "max_records"):
            if getattr(params, name) is not None:
                problems.append(Problem(f"params.{name}", "means nothing without params.records", value=getattr(params, name)))
    known = {name for architecture in listed(params.architecture) for name in ARCHITECTURES[architecture].own}
    for name in sorted(set(params.architecture_settings) - known):
        message = f"is no setting of {', '.join(listed(params.architecture))}; allowed: {', '.join(sorted(known)) or 'none'}"
        problems.append(Problem(f"params.architecture_settings.{name}", message, value=params.architecture_settings[name]))
    if params.latents is not None and max(listed(params.k)) > min(listed(params.latents)):
        problems.append(
            Problem("params.k", f"{max(listed(params.k))} is more than params.latents = {min(listed(params.latents))}", value=params.k)
        )
    if len(chosen := variants(params, 64)) > MOST_SAES:
        problems.append(Problem("params", f"asks for {len(chosen)} dictionaries on one pass; at most {MOST_SAES}"))
    return problems


def _model_problems(manifest: Manifest) -> list[Problem]:
    params: Params = manifest.params
    problems = []
    if manifest.model is None:
        problems.append(Problem("model", "is missing; train_sae needs a [model] table, or params.records, or params.store"))
    wanted = listed(params.train_data)
    for name in wanted:
        if name not in manifest.data:
            names = ", ".join(manifest.data) or "there is none"
            problems.append(Problem("params.train_data", f"{name!r} is none of the manifest's data: {names}", value=params.train_data))
            continue
        spec, first = manifest.data[name], manifest.data.get(wanted[0])
        if first is not None and spec.context != first.context:
            message = f"{spec.context}, but data.{wanted[0]} has context {first.context}; data that is read together shares it"
            problems.append(Problem(f"data.{name}.context", message, value=spec.context))
        if params.positions == "all" and params.skip_positions >= spec.context:
            message = f"{params.skip_positions} leaves nothing of data.{name}.context = {spec.context}"
            problems.append(Problem("params.skip_positions", message, value=params.skip_positions))
        if spec.rows is not None and spec.rows < 2:
            problems.append(Problem(f"data.{name}.rows", "must be 2 or more: some are held out", value=spec.rows))
    try:
        site = site_of(params)
    except UserError as error:
        problems.append(Problem("params.site", f"{error.what}; {error.hint}", value=params.site))
    else:
        if site.name == "attn_pattern":
            problems.append(
                Problem("params.site", "attn_pattern has no width of its own; choose resid_post, mlp_out, z, …", value=params.site)
            )
        if site.layer is None and site.name != "embed":
            problems.append(Problem("params.layer", f"is missing; {site.name} is of a layer, counted from 0"))
    return problems


def listed(value: Any) -> list[Any]:
    """A value that may be given by itself or as a list, as a list."""
    return list(value) if isinstance(value, list) else [value]
