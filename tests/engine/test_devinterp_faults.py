"""Faults known of devinterp 2.0.1 that must not be here, those that no other test of a part already rules out. The others:

train mode (dropout)                 samplers/test_chains.py::test_dropout_is_off_and_the_model_is_left_as_it_was
burn-in in the LLC                   estimators/test_llc_diagnostics.py::test_burn_in_and_failed_chains_stay_out
a NaN chain passes for complete      samplers/test_chains_control.py::test_a_chain_that_diverges_fails_alone
heads of width d_model / n_heads     restrictions/test_restrictions.py and test_restrictions_architectures.py
tied unembed gives an empty mask     restrictions/test_restrictions.py::test_a_tied_unembedding_selects_the_shared_matrix_and_says_so
no resume                            samplers/test_resume_kill.py, test_kill.py, experiments/test_susceptibilities_kind.py
zero variance unguarded              estimators/test_bif.py::test_losses_that_never_vary_are_null_and_named
a deep copy of the model a chain     samplers/test_language_model.py::test_a_copy_shares_what_it_does_not_replace
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.estimators import bif as bif_module
from interp_tui_engine.samplers.target.losses import linear_cross_entropy

SETTINGS: dict[str, Any] = {"lr": 1e-3, "n_beta": 20.0, "localization": 5.0, "num_chains": 2, "num_draws": 4, "batch_size": 4}
SETTINGS |= {"num_init_loss_batches": 1}


class Model(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.out = nn.Embedding(24, 12), nn.Linear(12, 24)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.embed(ids)))


def rows(seed: int, count: int = 12) -> torch.Tensor:
    return torch.randint(0, 24, (count, 6), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("change", ["model", "data", "observable", "another observable", "mask", "settings"])
def test_a_store_is_taken_for_finished_only_if_everything_is_the_same(tmp_path: Path, change: str) -> None:
    given = {"model": Model(), "data": rows(1), "observables": {"a": (rows(2), 1)}, "mask": {"out.weight": None}, "lr": 1e-3}

    def sample() -> Any:
        settings = SETTINGS | {"lr": given["lr"], "param_masks": given["mask"], "output_path": tmp_path / "s.zarr"}
        return engine.sample(given["model"], given["data"], given["observables"], **settings)  # type: ignore[arg-type]

    first = sample()
    np.testing.assert_array_equal(first["sampling_loss_micro"].values, sample()["sampling_loss_micro"].values)
    given |= {
        "model": {"model": Model(1)},
        "data": {"data": rows(3)},
        "observable": {"observables": {"a": (rows(4), 1)}},
        "another observable": {"observables": {"a": (rows(2), 1), "b": (rows(5), 1)}},
        "mask": {"mask": {"out.weight": torch.arange(24 * 12).view(24, 12) % 2 == 0}},
        "settings": {"lr": 2e-3},
    }[change]
    with pytest.raises(UserError, match="holds other samples"):
        sample()


def test_token_influence_multiplies_each_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the four blocks that two sequences' tokens make, only the one between them is computed."""
    made: list[tuple[int, ...]] = []

    def counted(device: str | None) -> Any:
        def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            made.append((a.shape[0], b.shape[0]))
            return a @ b.T

        return product

    monkeypatch.setattr(bif_module, "_multiplier", counted)
    found = engine.bif(Model(), rows(1), {"a": (rows(2), 1)}, bif_batch_size=3, **SETTINGS)
    assert found["influences"].shape == (4, 4, 5, 5)
    assert sum(a * b for a, b in made) == 4 * 4 * 5 * 5


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes; and the operations' names."""

    def __init__(self) -> None:
        super().__init__()
        self.elements, self.names = 0, set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.names.add(func.__name__.split(".")[0])
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.untyped_storage().nbytes() // 4)
        return out


def test_log_softmax_over_the_vocabulary_is_never_made() -> None:
    n, d, v, budget = 256, 8, 1000, 4 * 1000 * 16
    hidden, weight, target = torch.randn(n, d, requires_grad=True), torch.randn(v, d, requires_grad=True), torch.randint(0, v, (n,))
    with Largest() as seen:
        linear_cross_entropy(hidden, weight, None, target, None, budget).sum().backward()
    assert not seen.names & {"_log_softmax", "_log_softmax_backward_data"}
    assert seen.elements <= budget // 4, f"{seen.elements} elements at once, {n * v} in all logits"
    assert hidden.grad is not None and weight.grad is not None


def test_token_ids_are_not_stored_at_every_step_and_for_every_chain(tmp_path: Path) -> None:
    engine.sample(Model(), rows(1), {"a": (rows(2), 1)}, output_path=tmp_path / "s.zarr", **(SETTINGS | {"num_chains": 3}))
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    integers = {name: array.shape for name, array in group.arrays() if np.issubdtype(array.dtype, np.integer)}
    assert integers == {"sampling_rows_micro": (4, 4), "input_ids_a": (4, 6)}, "row numbers once, tokens of the observable once"


def test_chains_run_side_by_side_on_the_cores_there_are() -> None:
    from interp_tui_engine.samplers.chains.executor import choose_executor
    from interp_tui_engine.samplers.settings import SamplerConfig
    from interp_tui_engine.samplers.target.problem import ModuleTarget

    problem = ModuleTarget(Model(), rows(1), {}, 4)
    config = SamplerConfig.model_validate(SETTINGS)
    chosen = choose_executor(problem, config, range(2), cores=2, memory=1 << 30)
    assert (chosen.mode, chosen.workers) == ("threads", 2)
