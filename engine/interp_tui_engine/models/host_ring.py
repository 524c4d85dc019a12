"""Copies from a device to the host that nobody waits for but who needs them: a ring of pinned buffers, an event behind each copy.

A copy to pageable memory holds up the thread that asks for it until the device has done all that was asked before. One to pinned memory is
queued like a kernel; whoever takes it waits for its event, on another thread, while the next batch is computed. On the CPU it is the same
code, with buffers that are not pinned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor

Shape = tuple[int, ...]


@final
class HostBuffers:
    """Host memory for the tensors of one batch, by name; what was copied into it may be read after `wait`, until it is `free`."""

    def __init__(self, device: torch.device, tensors: Mapping[str, tuple[Shape, torch.dtype]]) -> None:
        pinned = device.type not in ("cpu", "mps")
        self._device = device
        self._buffers = {name: torch.empty(shape, dtype=dtype, pin_memory=pinned) for name, (shape, dtype) in tensors.items()}
        self._arrived: Callable[[], None] = _nothing

    def put(self, name: str, start: int, rows: Tensor) -> None:
        """Queue the copy of some rows of a tensor, from row `start` on. (rows, ...)"""
        self._buffers[name][start : start + len(rows)].copy_(rows, non_blocking=True)

    def sent(self) -> None:
        """All copies have been queued."""
        self._arrived = event_on(self._device)

    def wait(self) -> None:
        """Return when all copies have arrived."""
        self._arrived()

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[name]


@final
class HostRing:
    """So many `HostBuffers`, lent one after another; `take` waits while all are lent."""

    def __init__(self, device: torch.device, tensors: Mapping[str, tuple[Shape, torch.dtype]], count: int) -> None:
        self._free: list[HostBuffers] = [HostBuffers(device, tensors) for _ in range(count)]
        self._left = threading.Semaphore(count)

    def take(self) -> HostBuffers:
        """Buffers that nobody uses."""
        self._left.acquire()
        return self._free.pop()

    def give_back(self, buffers: HostBuffers) -> None:
        """What is in them has been used."""
        self._free.append(buffers)
        self._left.release()


def event_on(device: torch.device) -> Callable[[], None]:
    """What waits for all that the device has been asked to do so far, and for nothing that it is asked later."""
    if device.type == "cuda":
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return event.synchronize
    return _nothing  # copies on the CPU, and those from an Apple GPU to memory that is not pinned, are done when they return


def _nothing() -> None:
    """There is nothing to wait for."""
