"""Which features a records run names, and their values from pooled activations: dimensions, SAE latents, directions. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...features import ids
from ...sites.hooks import activations
from ...sites.site import Site, site_name
from .._features import direction_file
from .._features.direction_files import read_tensors, stacked, unit_vectors
from .._features.open_sae import open_sae, repeats_of, site_of
from .._features.space import Space, hidden_space
from .params import Params
from .passes import Passes, PromptTokens, pooled


@dataclass(frozen=True)
class Recorded:
    """The feature spaces that are recorded, one a site, and what else the result says of them."""

    spaces: tuple[Space, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    repeats: Mapping[Site, Float[Tensor, " f"]] = field(default_factory=dict)
    """Each latent's cosine with its like from another start, where the dictionary was trained from two."""

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(space.site for space in self.spaces)

    @property
    def features(self) -> int:
        """How many features there are at all sites together."""
        return sum(len(space.names) for space in self.spaces)


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
        widths = {site: value.shape[2] for _, values in passes.batches(texts[:1], sites) for site, value in values.items()}
        return Recorded(tuple(hidden_space(site, widths[site]) for site in sites)), texts
    if params.directions is not None:
        return _given(params, passes, sites), texts
    return _contrast(params, seed, passes, sites, texts)


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
    twice = repeats_of(Path(params.sae), params.sae_name)
    repeats = {site: twice} if twice is not None and len(twice) == len(names) else {}
    return Recorded((Space(site, names, sae),), about, repeats)


def _width(passes: Passes, site: Site) -> int:
    value = activations(passes.site_map, torch.zeros(1, 1, dtype=torch.long, device=passes.model.device), [site])[site]
    return int(value.flatten(2).shape[2])


def _given(params: Params, passes: Passes, sites: tuple[Site, ...]) -> Recorded:
    """The directions of a contrast run or a file. One whose id names a layer is read there under that id, another at every layer.

    Raises UserError for an id of a layer that is not among those asked for, and for one without a layer where none is.
    """
    assert params.directions is not None
    parsed = {name: ids.parse(name) for name in read_tensors(direction_file(params.directions))}
    named = {name: identity for name, identity in parsed.items() if identity is not None and identity.kind == "direction"}
    own = tuple(Site(site_name(params.site), layer) for layer in sorted({identity.layer for identity in named.values()}))
    for site in own:
        passes.site_map.check(site)
        if sites and site not in sites:
            name = next(name for name, identity in named.items() if identity.layer == site.layer)
            raise UserError(f"{params.directions} holds {name}, but params.layers = {params.layers}", "leave layers out, or add its layer")
    sites = sites or own
    units = unit_vectors(params.directions, {str(site): _width(passes, site) for site in sites})
    spaces = []
    for site in sites:
        here = {name: name for name, identity in named.items() if identity.layer == site.layer}
        here |= {name: f"direction:given:L{site.layer}:{ids.slug(name)}" for name in units if name not in named}
        if here:
            spaces.append(Space(site, list(here.values()), unit_FD=stacked([units[name] for name in here], passes.model.device)))
    if len(units) > len(named) and not params.layers:
        name = next(name for name in units if name not in named)
        raise UserError(f"{params.directions}: {name!r:.60} names no layer", "give params.layers, or name it direction:NAME:L2:x")
    return Recorded(tuple(spaces))


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
    spaces = tuple(Space(site, [ids.direction(site.layer or 0, slug)], unit_FD=directions[site].unsqueeze(0)) for site in sites)
    return Recorded(spaces, {"fitted_on": len(fit), "positives": counts[True]}), rest
