"""Reads a model's activations, row by row of text or in the chunks of an endless stream. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...dictionaries.side_stream import Begin
from ...dictionaries.stream import keyed_generator
from ...errors import UserError
from ...models.halving import FittingRows
from ...sites.hooks import activations
from ...sites.row_memory import fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap

FORWARD_TOKENS = 8192
"""Tokens in one forward pass."""


class ActivationReader:
    """The activations of token rows at one site, at some positions, float32, (tokens, width)."""

    def __init__(self, site_map: SiteMap, device: torch.device, site: Site, places: slice, wait_while_paused: Callable[[], None]) -> None:
        self.site_map, self.device, self.site, self.places, self._heed = site_map, device, site, places, wait_while_paused
        self._together: dict[int, FittingRows] = {}
        """How many rows of so many tokens pass the model at a time."""

    def rows(self, context: int) -> int:
        """Rows of that many tokens in one forward pass."""
        return max(1, FORWARD_TOKENS // context)

    def read(self, ids: Int[Tensor, "rows t1"]) -> Float[Tensor, "tokens width"]:
        """The rows' activations. Raises UserError where they are not finite; Interrupted after a stop."""
        rows, check = self.begin(ids)
        check()
        return rows

    def begin(self, ids: Int[Tensor, "rows t1"]) -> tuple[Float[Tensor, "tokens width"], Callable[[], None]]:
        """Without waiting for the device; and what waits, and raises UserError where the numbers are not finite."""
        self._heed()
        context = ids.shape[1] - 1
        if context not in self._together:
            self._together[context] = fitting_rows(self.site_map, context, self.rows(context), logits=0)
        parts = [value for _, value in self._together[context].each(ids, self._pass)]
        flags = [torch.isfinite(part).all() for part in parts]

        def check() -> None:
            if not all(map(bool, flags)):
                raise UserError(f"the model's activations at {self.site} are not finite", "use dtype = 'float32', or another site")

        return parts[0] if len(parts) == 1 else torch.cat(parts), check

    def _pass(self, ids: Tensor) -> Tensor:
        value = activations(self.site_map, ids[:, :-1].to(self.device, non_blocking=True), [self.site])[self.site]
        return value[:, self.places].flatten(0, 1).flatten(1).float()


def chunks(reader: ActivationReader, train_ids: Tensor, seed: int) -> tuple[Callable[[int], Tensor], Begin]:
    """The i-th block of rows of an endless reading of the data, each epoch in an order of its own: to be had, and to be asked for."""
    size = reader.rows(train_ids.shape[1] - 1)
    blocks = math.ceil(train_ids.shape[0] / size)

    def block(index: int) -> Tensor:
        order = torch.randperm(train_ids.shape[0], generator=keyed_generator(seed, -3 - index // blocks))
        at = index % blocks * size
        return train_ids[order[at : at + size]]

    return lambda index: reader.read(block(index)), lambda index: reader.begin(block(index))
