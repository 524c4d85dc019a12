"""devinterp's `sample_single_chain` here: the chain that `sample` runs, with callbacks; token ids of steps; burn-in kept in the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError

IDS = torch.randint(0, 24, (12, 6), generator=torch.Generator().manual_seed(1))
SETTINGS: dict[str, Any] = {"num_draws": 4, "num_burnin_steps": 2, "num_steps_bw_draws": 2, "batch_size": 4}
RATES = {"lr": 1e-3, "n_beta": 20.0, "localization": 5.0}


def sampled(model: nn.Module, **changed: Any) -> Any:
    given = {**SETTINGS, **RATES, "num_chains": 3, "num_init_loss_batches": 1, "chains": "serial", **changed}
    return engine.sample(model, IDS, {"pile": (IDS, 1)}, **given)


@pytest.mark.parametrize("masks", [None, {"out.weight": torch.arange(24)[:, None].expand(24, 8) < 5, "out.bias": None}])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_it_is_the_chain_of_that_number(model: nn.Module, masks: Any, accumulated: int) -> None:
    store = sampled(model, param_masks=masks, gradient_accumulation_steps=accumulated)
    drawn: list[float] = []
    observed = torch.tensor(store["input_ids_pile"].values)

    def look(loss: torch.Tensor, draw: int, chain: int, model: nn.Module, optimizer: None) -> None:
        assert (draw, chain, optimizer) == (len(drawn), 2, None) and loss.shape == (4, 5)
        log_p = model(observed)[:, :-1].log_softmax(-1)
        drawn.append(float(-log_p.gather(-1, observed[:, 1:, None]).mean()))

    kwargs = {"lr": 1e-3, "nbeta": 20.0, "localization": 5.0}
    before = [p.clone() for p in model.parameters()]
    once = engine.sample_single_chain(
        model, IDS, param_masks=masks, chain=2, sampling_method_kwargs=kwargs, callbacks=[look],
        gradient_accumulation_steps=accumulated, **SETTINGS,
    )  # fmt: skip
    assert once.failed is None and all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    expected = store["sampling_loss_micro"].values[2].astype(np.float64).mean((1, 2))
    np.testing.assert_array_equal(once.losses, expected)
    np.testing.assert_allclose(drawn, store["loss_pile"].values[2].mean((1, 2)), rtol=1e-6)


def test_a_loss_of_ones_own_and_every_micro_batch(model: nn.Module) -> None:
    """Twice the loss at half the temperature moves the same, and micro_callback sees each micro-batch with its rows."""
    seen: list[tuple[int, int]] = []

    def doubled(m: nn.Module, batch: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        log_p = m(batch["input_ids"])[:, :-1].log_softmax(-1)
        return -2 * log_p.gather(-1, batch["input_ids"][:, 1:, None])[..., 0], {}

    def micro(loss: torch.Tensor, input_ids: torch.Tensor, chain: int, step: int, micro_step: int) -> None:
        seen.append((step, micro_step))
        assert input_ids.shape == (4, 6) and loss.shape == (4, 5) and {tuple(r) for r in input_ids.tolist()} <= {*map(tuple, IDS.tolist())}

    steps: list[int] = []
    common = {**SETTINGS, "gradient_accumulation_steps": 2}
    plain = engine.sample_single_chain(model, IDS, sampling_method_kwargs={"lr": 1e-3, "nbeta": 20.0}, **common)
    twice = engine.sample_single_chain(
        model, IDS, doubled, sampling_method_kwargs={"lr": 1e-3, "nbeta": 10.0}, micro_callback=micro,
        step_callback=lambda chain, step, optimizer: steps.append(step), **common,
    )  # fmt: skip
    np.testing.assert_allclose(twice.losses, 2 * plain.losses, rtol=1e-5)
    assert steps == list(range(10)) and seen == [(step, part) for step in range(10) for part in (0, 1)]


def test_a_chain_that_fails_says_so(model: nn.Module) -> None:
    with pytest.warns(UserWarning, match="chain 0 failed at step"):
        ended = engine.sample_single_chain(model, IDS, sampling_method_kwargs={"lr": 1e9, "nbeta": 1e9}, **SETTINGS)
    assert ended.failed is not None and np.isnan(ended.losses[-1])


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"sampling_method": torch.optim.SGD, "sampling_method_kwargs": {"lr": 1.0, "nbeta": 1.0}}, TypeError, "sampling_method is SGD"),
        ({"sampling_method_kwargs": {"lr": 1.0}}, ValueError, "no nbeta"),
        ({"sampling_method_kwargs": {"lr": 1.0, "nbeta": 1.0, "momentum": 0.5}}, ValueError, "momentum"),
    ],
)
def test_what_it_cannot_take_is_refused(model: nn.Module, changed: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        engine.sample_single_chain(model, IDS, **{**SETTINGS, **changed})


@pytest.mark.parametrize("matched", [True, False])
def test_the_tokens_of_every_step_are_looked_up_when_they_are_read(model: nn.Module, tmp_path: Path, matched: bool) -> None:
    store = sampled(model, match_sampling_input_ids_across_chains=matched, output_path=tmp_path / "s.zarr")
    ids = store["sampling_input_ids_micro"]
    assert ids.dims == ("chain", "step", "batch_sampling", "token") and ids.shape == (3, 10, 4, 6) and ids.dtype == np.int64
    numbers = store["sampling_rows_micro"].values
    expected = IDS.numpy()[np.broadcast_to(numbers, (3, 10, 4))]
    np.testing.assert_array_equal(ids.values, expected)
    np.testing.assert_array_equal(ids[1, 2:9:3, :, -1].values, expected[1, 2:9:3, :, -1])
    np.testing.assert_array_equal(ids[1:, 4, [0, 3]].values, expected[1:, 4, [0, 3]])
    assert np.array_equal(expected[0], expected[1]) == matched
    assert not (tmp_path / "s.zarr" / "sampling_input_ids_micro").exists()
    again = engine.open_samples(tmp_path / "s.zarr", IDS)
    np.testing.assert_array_equal(again["sampling_input_ids_micro"].values, expected)
    assert "sampling_input_ids_micro" not in engine.open_samples(tmp_path / "s.zarr").dataset
    with pytest.raises(ValueError, match="the data has 3 rows of 6 tokens"):
        engine.open_samples(tmp_path / "s.zarr", IDS[:3])
    with pytest.raises(UserError, match="no store of samples"):
        engine.open_samples(tmp_path)


def test_burnin_may_be_kept_in_the_mean_as_devinterp_does(model: nn.Module) -> None:
    store = sampled(model, baseline="init")
    losses = store["sampling_loss_micro"].values.astype(np.float64)
    init = float(store["init_loss"].values.mean(dtype=np.float64))
    kept, left = engine.compute_llc(store, include_burnin=True), engine.compute_llc(store)
    assert float(kept["llc_mean"]) == pytest.approx(20 * (losses.mean() - init), rel=1e-6)
    assert float(left["llc_mean"]) == pytest.approx(20 * (losses[:, 2:].mean() - init), rel=1e-6)
    assert float(kept["llc_mean"]) != float(left["llc_mean"])
    given = {**SETTINGS, **RATES, "num_chains": 3, "num_init_loss_batches": 1, "chains": "serial", "baseline": "init"}
    whole = engine.llc(model, IDS, {"pile": (IDS, 1)}, include_burnin=True, **given)
    assert float(whole["llc_mean"]) == float(kept["llc_mean"])
