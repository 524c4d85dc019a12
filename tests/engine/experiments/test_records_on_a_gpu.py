"""Records on a simulated GPU: few copies for all rows of a batch, the same features, and halves where memory is short."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from interp_tui_engine.experiments.records import passes as passes_module
from interp_tui_engine.experiments.records.compute import _named
from interp_tui_engine.experiments.records.passes import Passes, PromptTokens
from simulated_gpu import GpuTensor, simulated_gpu


def slowly(names: list[str], values: torch.Tensor, top: int, sparse: bool) -> list[dict[str, float]]:
    """Row by row, as the definition says."""
    found = []
    for row in values.tolist():
        order = sorted(range(len(row)), key=lambda i: -abs(row[i]))[: top or None]
        kept = [i for i in range(len(row)) if (i in order) and (row[i] != 0.0 or not (top or sparse))]
        found.append({names[i]: row[i] for i in kept})
    return found


@pytest.mark.parametrize(("top", "dictionary"), [(0, None), (0, "an SAE"), (3, None), (3, "an SAE")])
def test_features_of_a_batch_cost_a_few_copies_however_many_rows_it_has(top: int, dictionary: str | None) -> None:
    space: Any = SimpleNamespace(names=[f"f{i}" for i in range(12)], dictionary=dictionary)
    counted = []
    for rows in (4, 64):
        values = torch.randn(rows, 12, generator=torch.Generator().manual_seed(rows))
        values[values.abs() < 0.7] = 0.0
        values[1] = 0.0
        with simulated_gpu() as counts:
            found = _named(space, GpuTensor(values), top)
            counted.append(sum(counts.waits.values()))
        assert found == slowly(space.names, values, top, dictionary is not None) == _named(space, values, top)
    assert counted[0] == counted[1] <= 6


def test_texts_that_do_not_fit_are_read_in_halves_and_later_batches_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def activations(site_map: object, ids: torch.Tensor, sites: list[str]) -> dict[str, torch.Tensor]:
        tried.append(ids.shape[0])
        if ids.shape[0] > 3:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB)")
        return {site: ids[..., None].float() for site in sites}

    monkeypatch.setattr(passes_module, "activations", activations)
    monkeypatch.setattr(passes_module, "fitting_rows", lambda site_map, tokens, most, logits: SimpleNamespace(count=most))
    model: Any = SimpleNamespace(device=torch.device("cpu"))
    texts = [PromptTokens(None, tuple(range(1, 6))) for _ in range(16)]  # type: ignore[arg-type]
    reading = Passes(model, None, batch_tokens=40)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="out of memory with 8 rows"):
        seen = {place: values["a"][row] for places, values in reading.batches(texts, ["a"]) for row, place in enumerate(places)}  # type: ignore[list-item]
    assert sorted(seen) == list(range(16)) and all(value.flatten().tolist() == [1, 2, 3, 4, 5] for value in seen.values())
    assert tried[0] == 8 and tried.count(8) == 1, "what did not fit is not tried again"
