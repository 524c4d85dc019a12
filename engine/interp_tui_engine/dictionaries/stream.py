"""Activations in training order: shuffled, in bounded memory, and again the same after a kill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import out_of_memory

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
    def load_state(self, state: Mapping[str, Any], window: Mapping[str, Any] | None = None) -> None:
        """Go on from there. window: one that `window` gave no later than that."""

    def window(self) -> Mapping[str, Any] | None:
        """What takes many bytes to keep and can be made again from an older one, with its number `refills`; None where nothing does."""
        return None


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

    def load_state(self, state: Mapping[str, Any], window: Mapping[str, Any] | None = None) -> None:
        self._taken = int(state["taken"])
        self._order = self._epoch(self._taken // self._rows.shape[0])

    def _epoch(self, epoch: int) -> Tensor:
        return torch.randperm(self._rows.shape[0], generator=keyed_generator(self._seed, epoch))


class ShuffleBuffer(Stream):
    """A window of `capacity` activations over a stream too long to hold, stirred each time half of it has been used.

    Neighbouring tokens of a text are alike, so a batch of neighbours would be a biased one. A token stays for a geometric number of
    refills, so batches mix about `capacity` tokens. Memory: the window and one chunk.

    A refill follows from the window before it and from the chunks, so a state is two numbers: loaded, it makes the refills since the newest
    window that was kept, or all of them where none was.
    """

    def __init__(self, chunk: Chunk, capacity: int, seed: int) -> None:
        self._chunk, self._capacity, self._seed = chunk, capacity, seed
        self._rows: Tensor | None = None
        self._used = 0
        self._next_chunk = 0
        self._refills = 0
        self._device: torch.device | None = None
        self._on_host = False

    @property
    def rows(self) -> Float[Tensor, "n d"]:
        if self._rows is None:
            self._refill()
        assert self._rows is not None
        return self._rows

    def take(self, batch: int) -> Float[Tensor, "b d"]:
        pieces: list[Tensor] = []
        while batch > 0:
            if self._rows is None or self._used >= self._half:
                self._refill()
            assert self._rows is not None
            piece = self._rows[self._used : min(self._used + batch, self._half)]
            pieces.append(piece)
            self._used += piece.shape[0]
            batch -= piece.shape[0]
        return torch.cat([piece.to(self._device) for piece in pieces] if self._on_host else pieces)

    def state(self) -> dict[str, Any]:
        return {"used": self._used, "next_chunk": self._next_chunk, "refills": self._refills}

    def window(self) -> Mapping[str, Any] | None:
        return None if self._rows is None else {"rows": self._rows, "next_chunk": self._next_chunk, "refills": self._refills}

    def load_state(self, state: Mapping[str, Any], window: Mapping[str, Any] | None = None) -> None:
        held = state if "rows" in state else window  # states once held the window itself
        self._rows = None if held is None else held["rows"]
        self._next_chunk, self._refills = (0, 0) if held is None else (int(held["next_chunk"]), int(held["refills"]))
        while self._refills < int(state["refills"]):
            self._used = 0 if self._rows is None else self._half
            self._refill()
        self._used = int(state["used"])
        assert self._next_chunk == int(state["next_chunk"]), "the stream is of other chunks"

    @property
    def _half(self) -> int:
        """How much of the window is used before it is refilled."""
        assert self._rows is not None
        return max(1, self._rows.shape[0] // 2)

    def _refill(self) -> None:
        try:
            self._stir()
        except Exception as error:
            if self._on_host or not out_of_memory(error):
                raise
            self._on_host = True  # the window leaves its memory to the model; batches go to the device one by one
            self._rows = None if self._rows is None else self._rows.cpu()
            self._stir()

    def _stir(self) -> None:
        """Put new chunks into the window and shuffle it; nothing changes before that has succeeded."""
        left = [] if self._rows is None else [self._rows[self._used :]]
        count, next_chunk = sum(piece.shape[0] for piece in left), self._next_chunk
        while count < self._capacity:
            piece = self._chunk(next_chunk)
            self._device = piece.device
            left.append(piece.cpu() if self._on_host else piece)
            count += piece.shape[0]
            next_chunk += 1
        order = torch.randperm(count, generator=keyed_generator(self._seed, self._refills))
        rows = torch.cat(left)
        self._rows, self._used = rows[order.to(rows.device)], 0
        self._next_chunk, self._refills = next_chunk, self._refills + 1
