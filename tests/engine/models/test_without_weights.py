"""A model told to another process without its weights is the model once it has them; ranks but the first read no files."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch
from torch import nn

from interp_tui_engine import manifest
from interp_tui_engine.data.rows import TokenRows
from interp_tui_engine.events import Event, Phase
from interp_tui_engine.experiments._sampling import by_ranks
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.models.without_weights import packed, unpacked
from interp_tui_engine.runtime import open_model
from interp_tui_engine.samplers.sharded.ranks import Ranks
from references.tiny_families import FAMILIES, some_ids, tiny_family


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_with_its_weights_it_is_the_model(family: str) -> None:
    model: nn.Module = tiny_family.__wrapped__(family)  # that of other tests may have gained hooks
    told = packed(model)
    assert told is not None
    copy = unpacked(told)
    own, others = dict(model.named_parameters()), dict(copy.named_parameters())
    assert [(name, p.shape, p.dtype) for name, p in own.items()] == [(name, p.shape, p.dtype) for name, p in others.items()]
    with torch.no_grad():
        for name, parameter in others.items():
            parameter.copy_(own[name])
        ids = some_ids(2, 7)
        assert torch.equal(copy(ids).logits, model(ids).logits)


def test_no_value_of_a_parameter_is_told() -> None:
    told = packed(nn.Embedding(1000, 1000))
    assert told is not None and len(told) < 5_000


def test_what_another_process_could_not_make_is_not_told() -> None:
    module = nn.Linear(2, 2)
    module.lock = threading.Lock()  # type: ignore[assignment]
    assert packed(module) is None


@dataclass
class _Told:
    """Ranks by turns in one process: what the first says is what the others hear, by way of bytes."""

    rank: int
    said: list[bytes] = field(default_factory=list)
    own_device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def told(self, thing: object) -> Any:
        if self.rank == 0:
            self.said.append(pickle.dumps(thing))
        return pickle.loads(self.said[-1])


REQUEST = 'kind = "llc"\n[model]\n[data.train]\n[params]\nlr = 1e-5\nn_beta = 1.0\n[compute]\ngpus_per_worker = 2\n'


def reading(trusted: bool, times: list[str]) -> by_ranks.Load:
    rows = TokenRows("train", torch.zeros(1, 5, dtype=torch.int32), "", "")

    def load(request: manifest.Manifest) -> Generator[Event, None, tuple[LoadedModel, dict[str, TokenRows]]]:
        assert request.model is not None and request.model.device == "cpu"
        times.append("read")
        yield Phase("loading model", "")
        model = load_model("builtin:tiny", device="cpu")
        return LoadedModel(**{**vars(model), "trusted": trusted}), {"train": rows}

    return load


def end_of(running: Generator[Event, None, Any]) -> Any:
    while True:
        try:
            next(running)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(("trusted", "reads"), [(False, 1), (True, 2)])
def test_a_node_reads_a_model_once_unless_it_has_code_of_its_own(trusted: bool, reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[str] = []
    devices: list[torch.device] = []
    monkeypatch.setattr(open_model, "compute_on", lambda device, request: devices.append(device))
    first = _Told(0)
    request = manifest.parse(REQUEST)
    model, _ = end_of(by_ranks.loaded_once(reading(trusted, times), request, cast("Ranks", first)))
    other = _Told(1, first.said, torch.device("cuda", 1))
    copy, rows = end_of(by_ranks.loaded_once(reading(trusted, times), request, cast("Ranks", other)))
    assert len(times) == reads and copy.weights_hash == model.weights_hash and rows["train"].ids.shape == (1, 5)
    assert [p.shape for p in copy.module.parameters()] == [p.shape for p in model.module.parameters()]
    assert devices == [torch.device("cpu"), torch.device("cuda", 1)], "torch is told how to compute where a rank does, not where it loads"
