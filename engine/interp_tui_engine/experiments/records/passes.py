"""Batched forward passes over prompts of unlike length, and what of their activations speaks for a text. Imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...features.prompts import Prompt
from ...models.loaded import LoadedModel
from ...sites.hooks import activations
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
            size = max(1, self.batch_tokens // longest)
            places, order = order[-size:], order[:-size]
            padded = torch.zeros(len(places), longest, dtype=torch.long)
            for row, place in enumerate(places):
                padded[row, : len(texts[place].ids)] = torch.tensor(texts[place].ids)
            found = activations(self.site_map, padded.to(self.model.device), sites)
            yield places, {site: value.flatten(2).float() for site, value in found.items()}


def pooled(value_PD: Tensor, length: int, pool: str) -> Tensor:
    """The rows that stand for a text of `length` tokens: (1, width), or (length, width) under 'tokens'."""
    real = value_PD[:length]
    if pool == "last":
        return real[-1:]
    if pool == "mean":
        return real.mean(0, keepdim=True)
    return real.amax(0, keepdim=True) if pool == "max" else real
