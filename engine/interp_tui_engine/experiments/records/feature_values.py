"""Which features a records run names, and their values from pooled activations: dimensions, SAE latents, directions. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import UserError
from ...features import ids
from ...sites.hooks import activations
from ...sites.site import Site, site_name
from .._features.open_sae import open_sae, repeats_of, site_of
from .params import Params
from .passes import Passes, PromptTokens, pooled

WRITERS = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})
"""Sites that are in, or added to, the residual stream."""


@dataclass(frozen=True)
class Recorded:
    """The sites that are read; of each the names of its features, and their values from (rows, width) activations."""

    sites: tuple[Site, ...]
    names: Mapping[Site, Sequence[str]]
    values: Callable[[Site, Tensor], Float[Tensor, "r f"]]
    sparse: bool = False
    """Zeros are left out of the records."""
    about: Mapping[str, Any] = field(default_factory=dict)
    directions: Mapping[Site, Float[Tensor, "f d"]] = field(default_factory=dict)
    """What each feature writes into the residual stream, at sites that write there."""
    repeats: Mapping[Site, Float[Tensor, " f"]] = field(default_factory=dict)
    """Each latent's cosine with its like from another start, where the dictionary was trained from two."""


def features_of(params: Params, seed: int, passes: Passes, texts: list[PromptTokens]) -> tuple[Recorded, list[PromptTokens]]:
    """What is recorded, and of which texts: of a contrast only those it was not fitted on.

    Raises UserError where sites or dictionaries do not fit the model.
    """
    if params.features == "sae":
        return _latents(params, passes), texts
    sites = tuple(Site(site_name(params.site), layer) for layer in params.layers)
    for site in sites:
        passes.site_map.check(site)
    if params.features == "hidden":
        widths = {site: value.shape[2] for _, found in passes.batches(texts[:1], sites) for site, value in found.items()}
        named = {site: [hidden_name(site, d) for d in range(widths[site])] for site in sites}
        writes = {site: torch.eye(widths[site], device=passes.model.device) for site in sites if site.name in WRITERS}
        return Recorded(sites, named, lambda site, x: x, directions=writes), texts
    if params.directions is not None:
        return _given(params, passes, sites, texts), texts
    return _contrast(params, seed, passes, sites, texts)


def hidden_name(site: Site, dimension: int) -> str:
    """`L6:D512` in the residual stream after a block; elsewhere the site is named too."""
    assert site.layer is not None
    return ids.hidden(site.layer, dimension) if site.name == "resid_post" else f"L{site.layer}:{site.name}:D{dimension}"


def _latents(params: Params, passes: Passes) -> Recorded:
    assert params.sae is not None
    sae = open_sae(Path(params.sae), passes.model.device, name=params.sae_name)
    site = site_of(sae)
    if params.layers and (site is None or site.layer not in params.layers):
        where = f"it was trained at {site}" if site is not None else "its file does not say where it was trained"
        if site is not None or len(params.layers) > 1:
            raise UserError(f"params.layers = {params.layers}, but the dictionary is not of them: {where}", "leave layers out")
        site = Site(site_name(params.site), params.layers[0])
    if site is None:
        raise UserError(f"the dictionary in {params.sae} does not say where it was trained", "give params.site and params.layers")
    passes.site_map.check(site)
    width = _width(passes, site)
    if sae.weights.width != width:
        raise UserError(
            f"the dictionary in {params.sae} is for width {sae.weights.width}, but {site} of {passes.model.source} has width {width}",
            f"it was trained on {sae.about.get('model_name', 'another model')}",
        )
    assert site.layer is not None
    names = [ids.latent(site.layer, index) for index in range(sae.weights.latents)]
    about = {"sae": params.sae, "site": str(site), "latents": sae.weights.latents}
    writes = {site: sae.weights.decoder} if site.name in WRITERS else {}
    twice = repeats_of(Path(params.sae), params.sae_name)
    repeats = {site: twice} if twice is not None and len(twice) == len(names) else {}
    return Recorded((site,), {site: names}, lambda site, x: sae.encode(x), sparse=True, about=about, directions=writes, repeats=repeats)


def _width(passes: Passes, site: Site) -> int:
    value = activations(passes.site_map, torch.zeros(1, 1, dtype=torch.long, device=passes.model.device), [site])[site]
    return int(value.flatten(2).shape[2])


def _given(params: Params, passes: Passes, sites: tuple[Site, ...], texts: list[PromptTokens]) -> Recorded:
    assert params.directions is not None
    try:
        vectors = load_file(params.directions)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{params.directions} is no safetensors file: {error}") from None
    if not vectors:
        raise UserError(f"{params.directions} holds no vectors")
    for name, vector in vectors.items():
        for site in sites:
            if vector.ndim != 1 or vector.shape[0] != (width := _width(passes, site)):
                raise UserError(f"{params.directions}: {name} is {tuple(vector.shape)}, but {site} has width {width}")
        if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise UserError(f"{params.directions}: {name} is zero or not finite", "a direction needs a length")
    matrix = torch.stack([vector.float() / vector.float().norm() for vector in vectors.values()]).to(passes.model.device)
    names = {site: [f"direction:given:L{site.layer}:{ids.slug(name)}" for name in vectors] for site in sites}
    writes = {site: matrix for site in sites if site.name in WRITERS}
    return Recorded(sites, names, lambda site, x: x @ matrix.T, directions=writes)


def _contrast(
    params: Params, seed: int, passes: Passes, sites: tuple[Site, ...], texts: list[PromptTokens]
) -> tuple[Recorded, list[PromptTokens]]:
    """unit(mean over high scores − mean over low ones) of the hidden state, fitted on a random share of the prompts."""
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    fitted_on = set(order[: max(2, round(params.fit_share * len(texts)))])
    fit = [text for index, text in enumerate(texts) if index in fitted_on]
    rest = [text for index, text in enumerate(texts) if index not in fitted_on]
    scores = [text.prompt.score for text in fit]
    middle = (min(scores) + max(scores)) / 2 if scores else 0.0
    high = [score > middle for score in scores]
    if not any(high) or all(high) or not rest:
        raise UserError(
            f"no contrast in the {len(fit)} prompts that it is fitted on: their scores are all {scores[0] if scores else 'missing'}"
            if scores and not any(high)
            else f"{len(texts)} prompts are too few to fit a contrast on some and record the others",
            "give more prompts, some of high and some of low score",
        )
    sums: dict[tuple[Site, bool], Tensor] = {}
    pool = "last" if params.pool == "tokens" else params.pool
    for places, values in passes.batches(fit, sites):
        for site, value in values.items():
            for row, place in enumerate(places):
                key = (site, high[place])
                vector = pooled(value[row], len(fit[place].ids), pool)[0].double()
                sums[key] = sums.get(key, torch.zeros_like(vector)) + vector
    counts = {side: high.count(side) for side in (True, False)}
    directions = {}
    for site in sites:
        difference = sums[site, True] / counts[True] - sums[site, False] / counts[False]
        if not float(difference.norm()) > 0:
            raise UserError(f"the mean activation at {site} is the same for high and low scores", "choose another layer or pool")
        directions[site] = (difference / difference.norm()).float()
    slug = params.criterion or Path(params.prompts).stem
    names = {site: [ids.direction(site.layer or 0, slug)] for site in sites}
    about = {"fitted_on": len(fit), "positives": counts[True]}
    writes = {site: directions[site].unsqueeze(0) for site in sites if site.name in WRITERS}
    return Recorded(sites, names, lambda site, x: x @ directions[site].unsqueeze(1), about=about, directions=writes), rest
