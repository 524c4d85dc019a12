"""Chunks made ahead on a stream of their own: the same batches, nothing used before it is made, and no more memory than there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from interp_tui_engine.dictionaries.side_stream import SideStream
from interp_tui_engine.dictionaries.stream import Begun, Held, ShuffleBuffer
from interp_tui_engine.experiments.train_sae import source

CHUNK, CAPACITY = 8, 40


def chunk(index: int) -> torch.Tensor:
    return torch.arange(index * CHUNK, (index + 1) * CHUNK, dtype=torch.float32)[:, None].repeat(1, 3)


class Later:
    """A device that makes a chunk only when it is waited for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.waited: list[int] = []

    def begin(self, index: int) -> Begun:
        self.asked.append(index)
        rows = torch.full((CHUNK, 3), float("nan"))

        def wait() -> None:
            self.waited.append(index)
            rows.copy_(chunk(index))

        return Begun(rows, wait)


def test_batches_are_those_of_chunks_made_when_they_are_needed() -> None:
    device = Later()
    plain, ahead = ShuffleBuffer(chunk, CAPACITY, seed=1), ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=device)
    for step in range(60):
        assert torch.equal(plain.take(7), ahead.take(7))
        assert plain.state() == ahead.state()
        assert step > 0 or device.asked == [5, 6], "for this batch and the next, from the first on that the window does not hold"
        assert len(device.asked) - len(device.waited) <= 3, "half a window at most is made ahead"
    assert device.waited == device.asked[: len(device.waited)] == list(range(5, 5 + len(device.waited))) and len(device.waited) > 20


def test_a_state_knows_nothing_of_what_was_made_ahead() -> None:
    plain, ahead = ShuffleBuffer(chunk, CAPACITY, seed=1), ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=Later())
    for _ in range(11):
        plain.take(7), ahead.take(7)
    again = ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=Later())
    again.take(7)  # something is made ahead, and not used
    again.load_state(ahead.state(), ahead.window())
    for _ in range(20):
        assert torch.equal(again.take(7), plain.take(7))


@pytest.mark.parametrize("fails_at", [0, 3])
def test_where_memory_does_not_do_nothing_is_made_ahead(fails_at: int) -> None:
    class Full(Later):
        def begin(self, index: int) -> Begun:
            if len(self.asked) == fails_at:
                self.asked.append(index)
                raise torch.OutOfMemoryError("CUDA out of memory")
            assert len(self.asked) < fails_at, "it is not asked again"
            return super().begin(index)

    plain, ahead = ShuffleBuffer(chunk, CAPACITY, seed=1), ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=Full())
    for _ in range(30):
        assert torch.equal(plain.take(7), ahead.take(7))


def test_what_is_wrong_with_a_chunk_is_raised_when_it_is_used() -> None:
    class Wrong(Later):
        def begin(self, index: int) -> Begun:
            def wait() -> None:
                raise ZeroDivisionError

            return Begun(chunk(index), wait)

    buffer = ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=Wrong())
    buffer.take(7)
    with pytest.raises(ZeroDivisionError):
        for _ in range(9):
            buffer.take(7)


class FakeStreams:
    """Streams that say what was asked of them, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._now = "main"

    class Named:
        def __init__(self, name: str, log: list[str]) -> None:
            self.name, self._log = name, log

        def wait_stream(self, other: Any) -> None:
            self._log.append(f"{self.name} waits for {other.name}")

        def record_event(self) -> str:
            self._log.append(f"{self.name}: made")
            return f"what {self.name} made"

        def wait_event(self, event: str) -> None:
            self._log.append(f"{self.name} waits for {event}")

    def stream(self) -> Any:
        return self.Named("side", self.log)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        before, self._now = self._now, stream.name
        yield
        self._now = before

    def current(self) -> Any:
        return self.Named(self._now, self.log)

    def hand_over(self, rows: torch.Tensor, stream: Any) -> None:
        self.log.append(f"memory is kept for {stream.name}")


def test_training_waits_on_the_device_and_only_for_what_it_uses() -> None:
    streams = FakeStreams()

    def begin(index: int) -> tuple[torch.Tensor, Callable[[], None]]:
        streams.log.append(f"{streams.current().name} reads {index}")
        return chunk(index), lambda: streams.log.append(f"{index} is looked at by {streams.current().name}")

    side = SideStream(streams, begin)
    begun = side.begin(3)
    assert streams.log == ["side waits for main", "side reads 3", "side: made"], "the model was loaded before; training is not waited for"
    begun.wait()
    assert streams.log[3:] == ["main waits for what side made", "memory is kept for main", "3 is looked at by main"]


def test_a_window_in_the_hosts_memory_gives_the_same_batches() -> None:
    device = Later()
    plain, host = ShuffleBuffer(chunk, CAPACITY, seed=1), ShuffleBuffer(chunk, CAPACITY, seed=1, ahead=device, on_host=True)
    assert all(torch.equal(plain.take(7), host.take(7)) for _ in range(20)) and not device.asked
    again = ShuffleBuffer(chunk, CAPACITY, seed=1, on_host=True)
    again.load_state(host.state(), host.window())
    assert all(torch.equal(plain.take(7), again.take(7)) for _ in range(20))
    rows = torch.randn(30, 3)
    held, apart = Held(rows, 1), Held(rows, 1, torch.device("cpu"))
    assert all(torch.equal(held.take(7), apart.take(7)) for _ in range(10))


def test_the_device_holds_activations_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "free_memory", lambda device: 10_000_000)
    gpu = torch.device("cuda")
    assert not source.too_large(4_900, 100, gpu) and source.too_large(5_100, 100, gpu), "two and a half copies in half of what is free"
    assert not source.too_large(10**9, 100, torch.device("cpu"))
