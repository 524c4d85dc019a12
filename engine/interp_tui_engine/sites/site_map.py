"""The parts of a model by role, and where each site of it is read and written. `dissect` makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from .places import PLACES
from .points.hook_point import HookPoint
from .site import NAMES, Site


@dataclass(frozen=True)
class Block:
    """One layer's modules by role; None where the architecture has no such thing."""

    module: nn.Module
    attention: nn.Module
    ports: dict[str, HookPoint]
    parallel: bool


@final
@dataclass(frozen=True)
class SiteMap:
    """The parts of a causal language model that sites refer to."""

    body: Any
    """The module that turns token ids into the last residual stream (its own final norm included)."""
    embed: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module | None
    head: nn.Module
    family: str
    num_heads: int
    num_kv_heads: int
    d_model: int
    context: int | None
    residual_scale: float
    """By what blocks multiply attn_out and mlp_out when they add them to the residual stream: 1 but in Granite."""
    finish: Callable[[Tensor], Tensor]
    """What the model does to its logits at last: a scale, a soft cap, or nothing."""

    @property
    def num_layers(self) -> int:
        """How many blocks the model has."""
        return len(self.blocks)

    def unembed(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of a residual stream as the model itself makes them: its final norm, its unembedding, its scale or soft cap."""
        normed = resid if self.final_norm is None else self.final_norm(resid)
        return self.finish(self.head(normed))

    def port(self, site: Site) -> HookPoint:
        """Where the site is read and written. Raises UserError for a site this model does not have."""
        self.check(site)
        if site.name == "embed":
            return HookPoint(self.embed, "output")
        assert site.layer is not None
        return self.blocks[site.layer].ports[site.name]

    def check(self, site: Site) -> None:
        """Raise UserError, with what there is, unless the model has this site."""
        if site.name == "embed":
            return
        if site.layer is None:
            raise UserError(f"site {site} names no layer", f"choose a layer from 0 to {self.num_layers - 1}, such as L0.{site.name}")
        if not 0 <= site.layer < self.num_layers:
            raise UserError(f"site {site}: there is no layer {site.layer}", f"the model has layers 0 to {self.num_layers - 1}")
        ports = self.blocks[site.layer].ports
        if site.name not in ports:
            if site.name == "resid_mid" and self.blocks[site.layer].parallel:
                raise UserError(f"{self.family} has no site resid_mid: its blocks run attention and MLP in parallel", "use resid_pre")
            raise UserError(f"site {site.name} cannot be reached in {self.family}", f"it has {', '.join(n for n in NAMES if n in ports)}")
        heads = self.heads(site.name)
        if site.head is not None and not 0 <= site.head < heads:
            raise UserError(f"site {site}: there is no head {site.head}", f"{site.name} has heads 0 to {heads - 1}")

    def heads(self, name: str) -> int:
        """How many heads a kind of site has: as many as K/V heads for k and v."""
        return self.num_kv_heads if name in PLACES and PLACES[name].heads == "kv" else self.num_heads

    def order(self, site: Site) -> tuple[int, int]:
        """Where in the forward pass a site comes: a later site has a greater order."""
        layer = -1 if site.layer is None else site.layer
        return (layer, -1 if site.name == "embed" else PLACES[site.name].order)
