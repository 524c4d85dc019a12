"""Many changes of one residual stream at prompts' last tokens, each computed from where it is made. Imports torch.

A change at a prompt's last token leaves every earlier position as it is, so that what follows is one token through the later blocks, before
the keys and values of the unchanged run. Prompts of one length go through a block together, and many changes of them at once.

Legend: K changes, P prompts, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...sites.branched_run import BranchedRun, record
from ...sites.hooks import eager_attention
from ...sites.site_map import SiteMap
from .space import PaddedPrompts

ROWS = 8192
"""Most rows (changes × prompts) in one block's pass."""


@dataclass(frozen=True)
class LastToken:
    """Unchanged runs of prompts, by length: places among the prompts, and their run."""

    site_map: SiteMap
    groups: tuple[tuple[tuple[int, ...], BranchedRun], ...]

    @torch.no_grad()
    def finals(self, layer: int, changes_KPD: Float[Tensor, "K P D"], chosen: Sequence[int]) -> Float[Tensor, "K chosen D"]:
        """The last block's output at the chosen prompts' last tokens, with each change added to the output of block `layer`."""
        result = changes_KPD.new_empty(len(changes_KPD), len(chosen), changes_KPD.shape[2], dtype=torch.float32)
        position = {place: index for index, place in enumerate(chosen)}
        with eager_attention(self.site_map):
            for places, fork in self.groups:
                here = [index for index, place in enumerate(places) if place in position]
                if not here:
                    continue
                part = fork if len(here) == len(places) else _rows(fork, here)
                wanted = [places[index] for index in here]
                columns = [position[place] for place in wanted]
                for start in range(0, len(changes_KPD), max(1, ROWS // len(here))):
                    some = slice(start, start + max(1, ROWS // len(here)))
                    result[some, columns] = self._after(part, layer, changes_KPD[some][:, wanted])
        return result

    def _after(self, fork: BranchedRun, layer: int, changes_KPD: Tensor) -> Tensor:
        clean_PD = fork.resid_pre[layer + 1][:, -1]
        hidden = (clean_PD + changes_KPD.to(clean_PD.dtype)).flatten(0, 1)[:, None]
        for later in range(layer + 1, self.site_map.num_layers):
            hidden = fork.block(later, hidden, fork.length - 1)
        return hidden[:, 0].float().reshape(changes_KPD.shape)


def last_token(site_map: SiteMap, tokens: PaddedPrompts, batch: int) -> LastToken | None:
    """The prompts' unchanged runs, `batch` prompts a pass; None for a model whose blocks cannot be given a last token alone."""
    by_length: dict[int, list[int]] = {}
    for place, last in enumerate(tokens.last.tolist()):
        by_length.setdefault(last + 1, []).append(place)
    groups = []
    for length, places in sorted(by_length.items()):
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            first = record(site_map, tokens.ids[some[:1], :length])
            if length < 2 or not first.can_skip:
                return None
            several = record(site_map, tokens.ids[some, :length])
            # what blocks are given besides (masks, positions) is the same for all rows of a length: that of one row serves any number
            groups.append((tuple(some), BranchedRun(site_map, several.resid_pre, first.calls, several.keys)))
    return LastToken(site_map, tuple(groups))


def _rows(fork: BranchedRun, rows: Sequence[int]) -> BranchedRun:
    keys = tuple(None if held is None else (held[0][rows], held[1][rows]) for held in fork.keys)
    return BranchedRun(fork.site_map, tuple(stream[rows] for stream in fork.resid_pre), fork.calls, keys)
