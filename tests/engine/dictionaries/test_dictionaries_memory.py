"""Training a dictionary where a batch does not fit in memory: in parts, with the same gradients, resumed to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_dictionaries_training import SMALL, request

from in_process import run_whole, stop_after
from interp_tui_engine.dictionaries.learner import Learner
from interp_tui_engine.dictionaries.names import ArchitectureName, Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.topk import TopK
from interp_tui_engine.dictionaries.weights import tied
from interp_tui_engine.errors import RunFailed
from interp_tui_engine.events import Warned
from interp_tui_engine.runtime.context import Interrupted

WIDTH, LATENTS, BATCH = 16, 48, 90


def learner(name: ArchitectureName, x_BD: torch.Tensor) -> Learner:
    architecture = build(name, LATENTS, Sparsity(k=4, l1=0.05, l0=1.0, bandwidth=2.0, threshold=0.1, prefixes=1))
    start = tied(LATENTS, x_BD, torch.Generator().manual_seed(1))
    made = Learner(architecture, start, Schedule(10, 1e-3, 0, 0, 0), auxk_coefficient=1 / 32, k_aux=8, dead_after=50)
    made._idle_M[:20] = 60  # so that AuxK has dead latents to revive
    return made


@pytest.mark.parametrize("name", ["topk", "relu", "gated"])
def test_gradients_made_in_parts_are_those_of_the_whole(name: ArchitectureName) -> None:
    x_BD = torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(0))
    whole, parted = learner(name, x_BD), learner(name, x_BD)
    one, many = whole.differentiate((x_BD,)), parted.differentiate(torch.split(x_BD, 31))
    torch.testing.assert_close(many.loss, one.loss)
    torch.testing.assert_close(many.error, one.error)
    assert torch.equal(many.fired, one.fired)
    for key in whole.architecture.trained:
        expected, found = whole.weights.named()[key].grad, parted.weights.named()[key].grad
        assert expected is not None and found is not None and float(expected.abs().max()) > 0
        # sums of at most BATCH float32 terms in another order
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=BATCH * torch.finfo(torch.float32).eps * float(expected.abs().max()))


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """A device on which no more than `rows` inputs fit."""
    room = {"rows": 60}
    plain = TopK.train

    def train(self: TopK, weights: Any, x_BD: torch.Tensor, pressure: float) -> Any:
        if x_BD.shape[0] > room["rows"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(self, weights, x_BD, pressure)

    monkeypatch.setattr(TopK, "train", train)
    yield room


def test_a_batch_that_does_not_fit_is_halved_said_and_resumed_to_the_same_bits(small_memory: dict[str, int], tmp_path: Path) -> None:
    result, events = run_whole(request(SMALL), tmp_path / "straight")
    said = [event.message for event in events if isinstance(event, Warned)]
    assert "out of memory: batches now run in 4 parts of at most 50 rows" in said, said
    assert result.values["tokens"] == 6_000
    with pytest.raises(Interrupted):
        run_whole(request(SMALL), tmp_path / "stopped", poll=stop_after(12))
    small_memory["rows"] = 1000  # what fits now must not change the sums of what has begun
    again, _ = run_whole(request(SMALL), tmp_path / "stopped")
    assert again.digests == result.digests


def test_one_row_that_does_not_fit_fails_with_advice(small_memory: dict[str, int], tmp_path: Path) -> None:
    small_memory["rows"] = 0
    with pytest.raises(RunFailed, match=r"one row at a time.*fewer chains or latents"):
        run_whole(request(SMALL), tmp_path / "run")


def test_another_error_is_not_taken_for_one_of_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(*_: Any) -> Any:
        raise RuntimeError("index out of range")

    monkeypatch.setattr(TopK, "train", train)
    with pytest.raises(RuntimeError, match="index out of range"):
        run_whole(request(SMALL), tmp_path / "run")
