"""Features of a loaded model: how each is read off a residual stream, and which direction writes it. Imports torch.

Legend: B rows, D width of the residual stream, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...data.prompts import encode, need_tokenizer
from ...dictionaries.dictionary import Dictionary
from ...errors import UserError
from ...features import ids
from ...features.prompts import Prompt
from ...models.loaded import LoadedModel
from ...sites.site import Site
from ...sites.site_map import SiteMap
from . import FeatureParams
from .direction_files import stacked, unit_vectors
from .open_sae import open_sae, site_of

WRITERS = frozenset({"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})
"""Sites that are in, or added to, the residual stream: what a feature of theirs writes is a vector of that stream."""


@dataclass(frozen=True)
class Space:
    """The features of one site: unit directions, an SAE's latents, or, with neither, hidden dimensions."""

    site: Site
    names: Sequence[str]
    dictionary: Dictionary | None = None
    unit_FD: Float[Tensor, "F D"] | None = None

    @property
    def layer(self) -> int:
        assert self.site.layer is not None
        return self.site.layer

    @property
    def hidden(self) -> bool:
        """Whether the features are the site's own dimensions."""
        return self.dictionary is None and self.unit_FD is None

    def read(self, x_BD: Float[Tensor, "B D"]) -> Float[Tensor, "B F"]:
        """The features' values."""
        if self.unit_FD is not None:
            projected: Tensor = x_BD.float() @ self.unit_FD.T
            return projected
        return x_BD.float() if self.dictionary is None else self.dictionary.encode(x_BD)

    def direction(self, index: int, width: int, device: torch.device) -> Float[Tensor, " D"]:
        """What adding 1 to the feature adds to the residual stream. An SAE's error stays as it is: x + (a′−a)·d."""
        if self.unit_FD is not None:
            return self.unit_FD[index]
        if self.dictionary is not None:
            return self.dictionary.weights.decoder[index].to(device)
        vector = torch.zeros(width, device=device)
        vector[index] = 1.0
        return vector

    def rows(self, device: torch.device) -> Float[Tensor, "F D"]:
        """`direction` of every feature; of hidden dimensions a unit matrix."""
        if self.unit_FD is not None:
            return self.unit_FD
        return torch.eye(len(self.names), device=device) if self.dictionary is None else self.dictionary.weights.decoder


def spaces_of(params: FeatureParams, layers: Sequence[int], site_map: SiteMap, device: torch.device) -> list[Space]:
    """The feature spaces of the layers asked for. Raises UserError where a layer or the SAE does not fit the model."""
    for layer in layers:
        site_map.check(Site("resid_post", layer))
    if params.features == "hidden":
        return [hidden_space(Site("resid_post", layer), site_map.d_model) for layer in layers]
    if params.features == "direction":
        return _directions(params, site_map, device)
    assert params.sae is not None
    dictionary = open_sae(Path(params.sae), device, width=site_map.d_model)
    trained, layer = site_of(dictionary), layers[0]
    if len(layers) > 1:
        raise UserError(f"the features are of {len(layers)} layers, but {params.sae} is an SAE of one", "name those of its layer")
    if trained is not None and trained.layer is not None and trained.layer != layer:
        raise UserError(f"{params.sae} was trained at layer {trained.layer} ({trained}), but the features are of layer {layer}")
    latents = dictionary.weights.decoder.shape[0]
    return [Space(Site("resid_post", layer), [ids.latent(layer, i) for i in range(latents)], dictionary)]


def hidden_space(site: Site, width: int) -> Space:
    """A site's own dimensions: `L6:D512` in the residual stream after a block; elsewhere the site is named too."""
    assert site.layer is not None
    if site.name == "resid_post":
        return Space(site, [ids.hidden(site.layer, i) for i in range(width)])
    return Space(site, [f"L{site.layer}:{site.name}:D{i}" for i in range(width)])


def _directions(params: FeatureParams, site_map: SiteMap, device: torch.device) -> list[Space]:
    """The directions of a file, by layer; each is scaled to unit length. Raises UserError for one that does not fit the model."""
    assert params.directions is not None
    by_layer: dict[int, dict[str, Tensor]] = {}
    for name, unit_D in unit_vectors(params.directions, {"resid_post": site_map.d_model}).items():
        layer = ids.layer_of(name)
        if layer is None:
            raise UserError(f"{params.directions}: {name!r:.60} names no layer", "the id of a direction does: direction:NAME:L2:x")
        by_layer.setdefault(layer, {})[name] = unit_D
    sites = {layer: Site("resid_post", layer) for layer in sorted(by_layer)}
    for site in sites.values():
        site_map.check(site)
    return [Space(site, list(by_layer[layer]), unit_FD=stacked(list(by_layer[layer].values()), device)) for layer, site in sites.items()]


@dataclass(frozen=True)
class PaddedPrompts:
    """Prompts as token ids, padded on the right, and each one's last position."""

    ids: Int[Tensor, "B P"]
    last: Int[Tensor, " B"]


def tokens_of(model: LoadedModel, site_map: SiteMap, prompts: Sequence[Prompt]) -> PaddedPrompts:
    """Raises UserError for a prompt without tokens or longer than the model's context."""
    tokenizer = need_tokenizer(model.tokenizer, model.source)
    rows = [encode(tokenizer, p.text, context=site_map.context, name=f"prompt {p.id!r:.60}") for p in prompts]
    width = max(map(len, rows))
    padded = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows])
    return PaddedPrompts(padded.to(model.device), torch.tensor([len(row) - 1 for row in rows], device=model.device))
