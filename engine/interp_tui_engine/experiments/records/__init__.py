"""Activation records of scored prompts: how strongly each feature fires on each text, for a ranking to read."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ...catalog import Estimate, Kind, Result
from ...errors import Problem, UserError
from ...events import Event
from ...manifest import Manifest
from ...results.records import LIVE, RecordsHeadline, RecordsResult
from ...runtime import cost
from ...runtime.context import Context
from ...sites.site import site_name
from .. import _features
from .params import Params as Params

EXAMPLE: dict[str, Any] = {
    "name": "capitals",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"prompts": "builtin:capital", "features": "hidden", "layers": [2]},
}


def check(manifest: Manifest) -> list[Problem]:
    """Features without what they need."""
    params: Params = manifest.params
    problems = []
    if params.features == "sae" and params.sae is None:
        problems.append(Problem("params.sae", "is missing; features = 'sae' needs a train_sae run or a dictionary's folder"))
    for name, kind in (("sae", "sae"), ("sae_name", "sae"), ("directions", "direction")):
        if getattr(params, name) is not None and params.features != kind:
            problems.append(Problem(f"params.{name}", f"means nothing with features = {params.features!r}", value=getattr(params, name)))
    if params.features != "sae" and params.directions is None and not params.layers:
        problems.append(Problem("params.layers", "is missing; layers are counted from 0, such as [2]", value=params.layers))
    if len(set(params.layers)) < len(params.layers):
        problems.append(Problem("params.layers", f"{params.layers} names a layer twice", value=params.layers))
    try:
        if site_name(params.site) in ("embed", "attn_pattern"):
            problems.append(Problem("params.site", f"{params.site!r} cannot be recorded; choose resid_post, mlp_out, …", value=params.site))
    except UserError as error:
        problems.append(Problem("params.site", f"{error.what}; {error.hint}", value=params.site))
    return problems or _features.check_files(params)


BUILTIN_TOKENS = 2_000
"""Of a built-in set of prompts, some 130 of them."""


def estimate(manifest: Manifest) -> Estimate:
    """Time from one pass over the prompts, at four bytes a token of text."""
    from pathlib import Path

    size = cost.parameters_of(manifest)
    path = Path(manifest.params.prompts)
    if size is None:
        return Estimate(None, None, None, ("the model's size is not known before it is loaded",))
    tokens = path.stat().st_size / 4 if path.is_file() else BUILTIN_TOKENS
    memory = cost.memory(size.parameters, manifest.params.batch_tokens or 16_384)
    return Estimate(cost.seconds(2 * size.parameters * tokens), memory, None, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read, record, write; a window of prompts that is done is not done again after a kill."""
    from . import compute

    return (yield from compute.run(context, context.manifest.params))


KIND = Kind(
    name="records",
    title="Record activations",
    question="How strongly does each feature fire on these prompts?",
    group="Features",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=RecordsResult,
    headline=RecordsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
