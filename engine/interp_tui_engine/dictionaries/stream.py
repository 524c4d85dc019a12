"""Activations in training order: shuffled, in bounded memory, and again the same after a kill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import out_of_memory

Chunk = Callable[[int], Float[Tensor, "n d"]]
"""The i-th piece of an endless stream of activations; the same piece whenever it is asked for."""


class Begun(NamedTuple):
    """A chunk that a device has been asked for: its rows, to be used after `wait`, which raises what is wrong with them."""

    rows: Float[Tensor, "n d"]
    wait: Callable[[], None]


class Ahead(Protocol):
    """Where chunks can be made while others are trained on."""

    def begin(self, index: int) -> Begun:
        """Ask for the i-th chunk; nothing waits for it."""


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

    def __init__(self, rows_ND: Float[Tensor, "n d"], seed: int, device: torch.device | None = None) -> None:
        """device: of batches, where it is not that of the rows."""
        self._rows, self._seed, self._device = rows_ND, seed, device
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
        taken = self._rows[torch.cat(pieces).to(self._rows.device)]
        return taken if self._device is None else taken.to(self._device)

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

    With `ahead` the next chunks are made while the window is used, as fast as it is: half a window of memory more. On the host (`on_host`,
    or once the device's memory does not do) batches go to the device one by one, and nothing is made ahead.

    A refill follows from the window before it and from the chunks, so a state is two numbers: loaded, it makes the refills since the newest
    window that was kept, or all of them where none was.
    """

    def __init__(self, chunk: Chunk, capacity: int, seed: int, ahead: Ahead | None = None, *, on_host: bool = False) -> None:
        self._chunk, self._capacity, self._seed, self._ahead = chunk, capacity, seed, ahead
        self._begun: list[Begun] = []
        self._rows: Tensor | None = None
        self._used = 0
        self._next_chunk = 0
        self._refills = 0
        self._device: torch.device | None = None
        self._on_host = on_host

    @property
    def rows(self) -> Float[Tensor, "n d"]:
        if self._rows is None:
            self._refill()
        assert self._rows is not None
        return self._rows

    def take(self, batch: int) -> Float[Tensor, "b d"]:
        taken = batch
        pieces: list[Tensor] = []
        while batch > 0:
            if self._rows is None or self._used >= self._half:
                self._refill()
            assert self._rows is not None
            piece = self._rows[self._used : min(self._used + batch, self._half)]
            pieces.append(piece)
            self._used += piece.shape[0]
            batch -= piece.shape[0]
        self._look_ahead(taken)
        return torch.cat([piece.to(self._device) for piece in pieces] if self._on_host else pieces)

    def _look_ahead(self, batch: int) -> None:
        """Ask for chunks that the next refill will read, at the pace at which the window is used, so that all are begun before it."""
        refill = self._capacity - (self.rows.shape[0] - self._half)
        while self._ahead is not None and not self._on_host:
            if sum(begun.rows.shape[0] for begun in self._begun) * self._half >= refill * min(self._used + batch, self._half):
                return
            try:
                self._begun.append(self._ahead.begin(self._next_chunk + len(self._begun)))
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self._ahead = None  # the window and the model leave no room for more
                self._begun.clear()

    def state(self) -> dict[str, Any]:
        return {"used": self._used, "next_chunk": self._next_chunk, "refills": self._refills}

    def window(self) -> Mapping[str, Any] | None:
        return None if self._rows is None else {"rows": self._rows, "next_chunk": self._next_chunk, "refills": self._refills}

    def load_state(self, state: Mapping[str, Any], window: Mapping[str, Any] | None = None) -> None:
        held = state if "rows" in state else window  # states once held the window itself
        self._begun.clear()
        self._rows = None if held is None else held["rows"]
        if self._rows is not None:
            self._device = self._rows.device
            self._rows = self._rows.cpu() if self._on_host else self._rows
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
            self._begun.clear()
            self._rows = None if self._rows is None else self._rows.cpu()
            self._stir()

    def _stir(self) -> None:
        """Put new chunks into the window and shuffle it; nothing changes before that has succeeded."""
        left = [] if self._rows is None else [self._rows[self._used :]]
        count, next_chunk = sum(piece.shape[0] for piece in left), self._next_chunk
        begun = list(self._begun)
        while count < self._capacity:
            if begun:
                piece, wait = begun.pop(0)
                wait()
            else:
                piece = self._chunk(next_chunk)
            self._device = piece.device
            left.append(piece.cpu() if self._on_host else piece)
            count += piece.shape[0]
            next_chunk += 1
        order = torch.randperm(count, generator=keyed_generator(self._seed, self._refills))
        rows = torch.cat(left)
        self._rows, self._used, self._begun = rows[order.to(rows.device)], 0, begun
        self._next_chunk, self._refills = next_chunk, self._refills + 1
