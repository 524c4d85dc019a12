"""Activations in training order: shuffled, in bounded memory, and again the same after a kill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Chunk = Callable[[int], Float[Tensor, "n d"]]
"""The i-th piece of an endless stream of activations; the same piece whenever it is asked for."""


class Stream(ABC):
    """Batches of activations without end."""

    @abstractmethod
    def take(self, batch: int) -> Float[Tensor, "b d"]:
        """The next batch."""

    @property
    @abstractmethod
    def rows(self) -> Float[Tensor, "n d"]:
        """The activations in memory now."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where the stream stands."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


def keyed_generator(seed: int, index: int) -> torch.Generator:
    """A CPU generator that is a function of (seed, index)."""
    return torch.Generator().manual_seed((seed * 1_000_003 + index * 7_919 + 12_345) % 2**63)


class Held(Stream):
    """All activations in memory, in a fresh order each epoch; the order of epoch e follows from (seed, e)."""

    def __init__(self, rows_ND: Float[Tensor, "n d"], seed: int) -> None:
        self._rows, self._seed = rows_ND, seed
        self._taken = 0
        self._order = self._epoch(0)

    @property
    def rows(self) -> Float[Tensor, "n d"]:
        return self._rows

    def take(self, batch: int) -> Float[Tensor, "b d"]:
        total = self._rows.shape[0]
        pieces: list[Tensor] = []
        while batch > 0:
            at = self._taken % total
            if at == 0:
                self._order = self._epoch(self._taken // total)
            piece = self._order[at : at + batch]
            pieces.append(piece)
            self._taken += piece.shape[0]
            batch -= piece.shape[0]
        return self._rows[torch.cat(pieces).to(self._rows.device)]

    def state(self) -> dict[str, Any]:
        return {"taken": self._taken}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._taken = int(state["taken"])
        self._order = self._epoch(self._taken // self._rows.shape[0])

    def _epoch(self, epoch: int) -> Tensor:
        return torch.randperm(self._rows.shape[0], generator=keyed_generator(self._seed, epoch))


class ShuffleBuffer(Stream):
    """A window of `capacity` activations over a stream too long to hold, stirred each time half of it has been used.

    Neighbouring tokens of a text are alike, so a batch of neighbours would be a biased one. A token stays for a geometric number of
    refills, so batches mix about `capacity` tokens. Memory: the window and one chunk.
    """

    def __init__(self, chunk: Chunk, capacity: int, seed: int) -> None:
        self._chunk, self._capacity, self._seed = chunk, capacity, seed
        self._rows: Tensor | None = None
        self._used = 0
        self._next_chunk = 0
        self._refills = 0

    @property
    def rows(self) -> Float[Tensor, "n d"]:
        if self._rows is None:
            self._refill()
        assert self._rows is not None
        return self._rows

    def take(self, batch: int) -> Float[Tensor, "b d"]:
        pieces: list[Tensor] = []
        while batch > 0:
            if self._rows is None or self._used >= max(1, self._rows.shape[0] // 2):
                self._refill()
            assert self._rows is not None
            piece = self._rows[self._used : min(self._used + batch, max(1, self._rows.shape[0] // 2))]
            pieces.append(piece)
            self._used += piece.shape[0]
            batch -= piece.shape[0]
        return torch.cat(pieces)

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows, "used": self._used, "next_chunk": self._next_chunk, "refills": self._refills}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._rows, self._used = state["rows"], int(state["used"])
        self._next_chunk, self._refills = int(state["next_chunk"]), int(state["refills"])

    def _refill(self) -> None:
        left = [] if self._rows is None else [self._rows[self._used :]]
        count = sum(piece.shape[0] for piece in left)
        while count < self._capacity:
            piece = self._chunk(self._next_chunk)
            left.append(piece)
            count += piece.shape[0]
            self._next_chunk += 1
        rows = torch.cat(left)
        order = torch.randperm(count, generator=keyed_generator(self._seed, self._refills))
        self._rows, self._used = rows[order.to(rows.device)], 0
        self._refills += 1
