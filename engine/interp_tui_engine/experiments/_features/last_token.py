"""Many changes of one residual stream at prompts' last tokens, each computed from where it is made. Imports torch.

A change at a prompt's last token leaves every earlier position as it is, so that what follows is one token through the later blocks, before
the keys and values of the unchanged run. Prompts of one length go through a block together, and many changes of them at once.

Legend: K changes, P prompts, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.device import sent
from ...models.halving import FittingRows, in_halves
from ...sites.branched_run import BranchedRun, record
from ...sites.hooks import eager_attention
from ...sites.row_memory import bytes_of_row
from ...sites.site_map import SiteMap
from .space import PaddedPrompts

ROWS = 8192
"""Most rows (changes × prompts) in one block's pass."""


@dataclass(frozen=True)
class LastToken:
    """Unchanged runs of prompts, by length: places among the prompts, and their run."""

    site_map: SiteMap
    groups: tuple[tuple[tuple[int, ...], BranchedRun], ...]
    together: FittingRows
    """How many changed prompts go through a block at a time."""

    @torch.no_grad()
    def finals(self, layer: int, changes_KPD: Float[Tensor, "K P D"], chosen: Sequence[int]) -> Float[Tensor, "K chosen D"]:
        """The last block's output at the chosen prompts' last tokens, with each change added to the output of block `layer`."""
        count, device = len(changes_KPD), changes_KPD.device
        result = changes_KPD.new_empty(count, len(chosen), changes_KPD.shape[2], dtype=torch.float32)
        position = {place: index for index, place in enumerate(chosen)}
        with eager_attention(self.site_map):
            for places, fork in self.groups:
                rows = [row for row, place in enumerate(places) if place in position]
                if not rows:
                    continue
                # every change of every prompt of this length: which row of the run, which prompt, where in the result
                of_each = sent([[row, places[row], position[places[row]]] for row in rows], device).repeat(count, 1)
                change = torch.arange(count, device=device).repeat_interleave(len(rows))[:, None]
                for some, finals in self.together.each(
                    torch.cat([change, of_each], dim=1),
                    lambda some, fork=fork: self._after(fork, layer, changes_KPD, some),  # type: ignore[misc]
                ):
                    result[some[:, 0], some[:, 3]] = finals
        return result

    def _after(self, fork: BranchedRun, layer: int, changes_KPD: Tensor, some: Int[Tensor, "rows 4"]) -> Float[Tensor, "rows D"]:
        change, row, prompt = some[:, 0], some[:, 1], some[:, 2]
        clean = fork.resid_pre[layer + 1][:, -1][row]
        hidden = (clean + changes_KPD[change, prompt].to(clean.dtype))[:, None]
        for later in range(layer + 1, self.site_map.num_layers):
            hidden = fork.block(later, hidden, fork.length - 1, row)
        return hidden[:, 0].float()


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
            for part, several in in_halves(some, lambda part, length=length: record(site_map, tokens.ids[part, :length])):  # type: ignore[misc]
                # what blocks are given besides (masks, positions) is the same for all rows of a length: that of one row serves any number
                groups.append((tuple(part), BranchedRun(site_map, several.resid_pre, first.calls, several.keys)))
    longest = int(tokens.last.max()) + 1
    held = bytes_of_row(site_map, 1, logits=0) + 8 * longest * site_map.d_model  # and the keys and values before it
    return LastToken(site_map, tuple(groups), FittingRows(tokens.ids.device, held, ROWS))
