"""Batched forward passes over prompts of unlike length, and what of their activations speaks for a text. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...features.prompts import Prompt
from ...models.halving import in_halves
from ...models.loaded import LoadedModel
from ...sites.hooks import activations
from ...sites.row_memory import fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap


@dataclass(frozen=True)
class PromptTokens:
    """A prompt and its tokens."""

    prompt: Prompt
    ids: tuple[int, ...]


class Passes:
    """Pooled activations of texts, in batches of like length; right-padded, which a causal model's real tokens do not see."""

    def __init__(self, model: LoadedModel, site_map: SiteMap, batch_tokens: int) -> None:
        self.model, self.site_map, self.batch_tokens = model, site_map, batch_tokens

    def batches(self, texts: Sequence[PromptTokens], sites: Sequence[Site]) -> Iterator[tuple[list[int], dict[Site, Tensor]]]:
        """Places in `texts`, and (text, position, width) float32 values at each site for them."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place].ids))
        while order:
            longest = len(texts[order[-1]].ids)
            size = fitting_rows(self.site_map, longest, self.batch_tokens // longest, logits=0).count
            wanted, order = order[-size:], order[:-size]
            for places, values in in_halves(wanted, lambda places: self._pass(texts, places, sites)):
                if len(places) < len(wanted):  # so much does not fit: do not try it again
                    self.batch_tokens = min(self.batch_tokens, len(places) * longest)
                yield places, values

    def _pass(self, texts: Sequence[PromptTokens], places: Sequence[int], sites: Sequence[Site]) -> dict[Site, Tensor]:
        padded = torch.zeros(len(places), max(len(texts[place].ids) for place in places), dtype=torch.long)
        for row, place in enumerate(places):
            padded[row, : len(texts[place].ids)] = torch.tensor(texts[place].ids)
        seen = activations(self.site_map, padded.to(self.model.device, non_blocking=True), sites)
        return {site: value.flatten(2).float() for site, value in seen.items()}


def pooled(value_PD: Tensor, length: int, pool: str) -> Tensor:
    """The rows that stand for a text of `length` tokens: (1, width), or (length, width) under 'tokens'."""
    real = value_PD[:length]
    if pool == "last":
        return real[-1:]
    if pool == "mean":
        return real.mean(0, keepdim=True)
    return real.amax(0, keepdim=True) if pool == "max" else real
