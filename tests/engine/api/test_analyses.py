"""`bif` and `susceptibilities` in one call: devinterp's signatures, what they return, and what they refuse before sampling."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError

SETTINGS = {"lr": 1e-3, "n_beta": 20.0, "localization": 5.0, "num_chains": 2, "num_draws": 6, "batch_size": 4, "num_init_loss_batches": 2}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(24, 12), nn.Linear(12, 12), nn.Linear(12, 24)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.mix(self.embed(ids))))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def rows(seed: int) -> torch.Tensor:
    return torch.randint(0, 24, (12, 6), generator=torch.Generator().manual_seed(seed))


DATA = {"pile": (rows(1), 1), "code": (rows(2), 1)}

SIGNATURES = {
    "bif": "model dataset observables lr n_beta param_masks correlation_method reduce_chain_dimension_method average_tokenwise_bif "
    "compute_covariance bif_batch_size bif_device loss_fn kwargs",
    "compute_bif": "samples correlation_method reduce_chain_dimension_method loss_keys batch_index_range_1 batch_index_range_2 "
    "average_tokenwise_bif compute_covariance batch_size device",
    "susceptibilities": "model dataset observables weight_restrictions sampling_task lr n_beta loss_fn include_sampling_task kwargs",
    "compute_susceptibilities": "wr_map sampling_task observable_names include_sampling_task",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_are_devinterps(name: str) -> None:
    ours = list(inspect.signature(getattr(engine, name)).parameters)
    theirs = SIGNATURES[name].split()
    assert [parameter for parameter in ours if parameter in theirs] == theirs
    defaults = {p.name: p.default for p in inspect.signature(getattr(engine, name)).parameters.values()}
    assert all(defaults[extra] is not inspect.Parameter.empty for extra in set(ours) - set(theirs)), "what is ours alone may be left out"


def test_susceptibilities_sample_each_restriction_once(model: Model, tmp_path: Path) -> None:
    restrictions = {"full": None, "mix": {"mix.weight": None, "mix.bias": None}, "embed": {"embed.weight": None}}
    seen: list[object] = []
    found = engine.susceptibilities(
        model, rows(1), DATA, restrictions, sampling_task="pile", output_path=tmp_path / "samples.zarr", on_progress=seen.append, **SETTINGS
    )
    assert sorted(path.name for path in tmp_path.glob("*.zarr")) == ["samples_embed.zarr", "samples_full.zarr", "samples_mix.zarr"]
    sus = found["susceptibilities"]["sus"]
    assert sus.shape == (4 * 5, 2) and sus["wr"].values.tolist() == ["mix", "embed"] and np.isfinite(sus.values).all()
    assert found["context"]["input_ids"].shape == (4 * 6,)
    sampled = len(seen)
    again = engine.susceptibilities(
        model, rows(1), DATA, restrictions, sampling_task="pile", output_path=tmp_path / "samples.zarr", on_progress=seen.append, **SETTINGS
    )
    assert len(seen) == sampled, "stores that are there are not sampled again"
    np.testing.assert_array_equal(again["susceptibilities"]["sus"].values, sus.values)


def test_bif_by_token_and_by_sequence(model: Model) -> None:
    tokens = engine.bif(model, rows(1), DATA, **SETTINGS)
    assert tokens["influences"].shape == (8, 8, 5, 5)
    values = tokens["influences"].values
    np.testing.assert_allclose(values, values.transpose(1, 0, 3, 2), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.einsum("iiss->is", values), 1.0, rtol=0, atol=1e-5)
    sequences = engine.bif(model, rows(1), DATA, correlation_method="sequence", bif_batch_size=3, **SETTINGS)
    assert sequences["influences"].dims == ("batch_1", "batch_2") and sequences["influences"].shape == (8, 8)


@pytest.mark.parametrize(
    ("restrictions", "task", "data", "message"),
    [
        ({"a": None}, "pile", DATA, "has no 'full'"),
        ({"full": None}, "pile", DATA, "holds nothing but 'full'"),
        ({"full": None, "a": None}, "prose", DATA, "'prose' is no observable"),
        ({"full": None, "a": None}, "pile", {"pile": DATA["pile"]}, "no observable besides 'pile'"),
    ],
)
def test_what_cannot_work_is_said_before_sampling(model: Model, restrictions, task, data, message) -> None:
    with pytest.raises(UserError, match=message):
        engine.susceptibilities(model, rows(1), data, restrictions, sampling_task=task, **SETTINGS)
