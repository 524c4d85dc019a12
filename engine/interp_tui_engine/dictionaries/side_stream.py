"""Chunks of activations made while training goes on: the model reads on a stream of its own, awaited when a chunk is used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, final

import torch
from torch import Tensor

from .stream import Begun

Begin = Callable[[int], tuple[Tensor, Callable[[], None]]]
"""Ask for the i-th chunk without waiting for it; and what raises, later, if its numbers are none."""


class Streams(Protocol):
    """What of `torch.cuda` is used here."""

    def stream(self) -> Any:
        """A new stream."""

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """What is launched inside goes to that stream."""

    def current(self) -> Any:
        """The stream that launches go to now."""

    def hand_over(self, rows: Tensor, stream: Any) -> None:
        """Let this stream use what another has made, and keep its memory until it has."""


@final
class CudaStreams:
    """Those of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stream(self) -> Any:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        return torch.cuda.stream(stream)

    def current(self) -> Any:
        return torch.cuda.current_stream(self._device)

    def hand_over(self, rows: Tensor, stream: Any) -> None:
        rows.record_stream(stream)


@final
class SideStream:
    """The `Ahead` of a device with streams."""

    def __init__(self, streams: Streams, begin: Begin) -> None:
        self._streams, self._begin = streams, begin
        self._side = streams.stream()
        self._side.wait_stream(streams.current())  # which loaded the model; nothing that comes later is read over there

    def begin(self, index: int) -> Begun:
        """Ask for the i-th chunk."""
        with self._streams.on(self._side):
            rows, check = self._begin(index)
            made = self._side.record_event()

        def wait() -> None:
            here = self._streams.current()
            here.wait_event(made)
            self._streams.hand_over(rows, here)
            check()

        return Begun(rows, wait)
