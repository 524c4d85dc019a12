"""Steering: what stands along a direction at a site is moved, removed or held while the model runs, at every position.

With û the unit direction and x the value at the site:

    add      x ← x + a·û                 (activation addition, Turner et al. 2023, arXiv 2308.10248)
    ablate   x ← x − (x·û)·û             (directional ablation, Arditi et al. 2024, arXiv 2406.11717)
    clamp    x ← x + (a − x·û)·û

`a` is in the activations' own units. Continuations are greedy, so that before and after differ by the steering alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..sites.hooks import Edit, edited
from ..sites.key_cache import cache_argument, cache_in
from ..sites.site import Site
from ..sites.site_map import SiteMap

Verb = Literal["add", "ablate", "clamp"]
VERBS: tuple[str, ...] = get_args(Verb)


@final
@dataclass(frozen=True)
class Steering:
    """One change along one direction.

    `unit` has length 1 and as many numbers as the site has at a position: of the head that it names, else of all heads side by side.
    """

    site: Site
    unit: Float[Tensor, " width"]
    verb: Verb
    amount: float = 0.0

    def change(self, value: Float[Tensor, "batch pos *rest"]) -> Float[Tensor, "batch pos *rest"]:
        """The site's value, with all its heads, as it shall be."""
        if self.site.head is not None:
            result = value.clone()
            result[:, :, self.site.head] = self._moved(value[:, :, self.site.head])
            return result
        return self._moved(value)

    def _moved(self, value: Tensor) -> Tensor:
        flat = value.flatten(2).float()
        unit = self.unit.to(flat)
        along = flat @ unit
        target = {"add": along + self.amount, "ablate": torch.zeros_like(along), "clamp": torch.full_like(along, self.amount)}[self.verb]
        return (flat + (target - along)[..., None] * unit).to(value.dtype).reshape(value.shape)

    @property
    def edit(self) -> Edit:
        """The edit of the residual stream that steers so."""
        return Edit(self.site.whole, self.change)


class Continuation(NamedTuple):
    """What a model writes after a prompt, and the logits of the first token it chose."""

    ids: list[int]
    logits: Float[Tensor, " vocab"]


@torch.no_grad()
def continuation(
    module: Any, site_map: SiteMap, ids: Int[Tensor, "1 pos"], count: int, steering: Steering | None, *, end: int | None
) -> Continuation:
    """Up to `count` tokens, the likeliest one after another; fewer where the model ends the text or its context is full."""
    room = count if site_map.context is None else min(count, site_map.context - ids.shape[1])
    tokens: list[int] = []
    with edited(site_map, [] if steering is None else [steering.edit]):
        output = module(ids, use_cache=True)
        first = logits = output.logits[0, -1].float()
        while len(tokens) < room:
            chosen = int(logits.argmax())
            if chosen == end:
                break
            tokens.append(chosen)
            if len(tokens) < room:
                # keys and values of the tokens before were computed under the same steering
                held = {cache_argument(module): cache_in(output)}
                output = module(torch.tensor([[chosen]], device=ids.device), **held, use_cache=True)
                logits = output.logits[0, -1].float()
    return Continuation(tokens, first)
