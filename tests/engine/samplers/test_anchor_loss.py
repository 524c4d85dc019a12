"""The loss at w0 of the rows each step saw: against a slow loop, computed once a batch, and whole after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from sampler_models import SERIAL, THREADS, VMAP, TinyLM, config, make_store, problem, run, tiny_lm, token_rows

from interp_tui_engine.estimators.llc import compute_llc
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains.store import open_samples
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import ModuleTarget


def by_hand(model: TinyLM, c: SamplerConfig, chain: int) -> np.ndarray:
    """Mean loss at w0 of each step's rows, one step after another."""
    rows, found = token_rows(), []
    order = BatchOrder(rows.shape[0], c)
    for step in range(c.num_sgld_steps):
        ids = torch.cat([rows[batch] for batch in order.step(step, chain)])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids)[:, :-1].reshape(-1, 24).double(), ids[:, 1:].reshape(-1))
        found.append(float(losses))
    return np.array(found)


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
@pytest.mark.parametrize("shared", [True, False], ids=["one order", "an order a chain"])
def test_it_is_the_loss_at_w0_of_the_steps_own_rows(tmp_path: Path, executor, shared):
    c = config(
        num_draws=9, num_burnin_steps=2, num_steps_bw_draws=2, gradient_accumulation_steps=2, match_sampling_input_ids_across_chains=shared
    )
    model = tiny_lm()
    p = problem(c, model, masks={"out.weight": None})
    result = run(p, c, make_store(tmp_path / "s", p, c), executor)
    samples = open_samples(tmp_path / "s")
    got = samples["init_loss_micro"].values
    want = by_hand(model, c, 0) if shared else np.stack([by_hand(model, c, chain) for chain in range(4)])
    np.testing.assert_allclose(got, want, rtol=1e-6)
    steps = np.arange(c.num_burnin_steps, c.num_sgld_steps, c.num_steps_bw_draws)
    np.testing.assert_allclose(result.snapshot.baseline, np.broadcast_to(want, (4, c.num_sgld_steps))[:, steps], rtol=1e-6)
    rises = samples["sampling_loss_micro"].values.mean((2, 3), dtype="float64") - got
    np.testing.assert_allclose(result.snapshot.rises, rises[:, c.num_burnin_steps :].mean(1), rtol=1e-4, atol=1e-7)
    llc = compute_llc(samples)
    np.testing.assert_allclose(llc.llc_per_chain, c.n_beta * rises[:, c.num_burnin_steps :].mean(1), rtol=1e-4, atol=1e-6)
    assert llc.attrs["baseline"] == "paired"


def test_a_batch_is_evaluated_once_for_all_chains_and_epochs(tmp_path: Path):
    looks = 0

    def counting(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        nonlocal looks
        looks += not torch.is_grad_enabled()
        return -torch.log_softmax(model(ids)[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]

    rows = token_rows(40)
    c = config(num_draws=35, num_init_loss_batches=3)  # ten batches an epoch, of which the initial loss takes three
    run(ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=counting), c, folder=tmp_path)
    assert looks == 10


def test_init_asks_for_none_and_gives_devinterps_number(tmp_path: Path):
    c = config(num_draws=9, baseline="init")
    p = problem(c)
    result = run(p, c, make_store(tmp_path / "s", p, c))
    samples = open_samples(tmp_path / "s")
    assert "init_loss_micro" not in samples.dataset
    llc = compute_llc(samples, "paired")
    assert llc.attrs["baseline"] == "init", "a store that cannot be paired is not, and says so"
    by_hand = c.n_beta * (samples["sampling_loss_micro"].values.mean(dtype="float64") - samples["init_loss"].values.mean(dtype="float64"))
    assert float(llc.llc_mean) == pytest.approx(by_hand, rel=1e-5)
    assert np.mean(result.snapshot.rises) * c.n_beta == pytest.approx(by_hand, rel=1e-5)


def test_what_a_kill_lost_is_computed_again(tmp_path: Path):
    c = config(num_draws=9)
    p = problem(c)
    run(p, c, make_store(tmp_path / "a", p, c), folder=tmp_path / "ck")
    for path in (tmp_path / "ck").glob("anchor-*.pt"):
        path.unlink()
    group = zarr.open_group(tmp_path / "a", mode="r+")
    before = group["init_loss_micro"][...]
    group["init_loss_micro"][...] = np.nan
    run(p, c, make_store(tmp_path / "a", p, c), folder=tmp_path / "ck")
    assert np.array_equal(group["init_loss_micro"][...], before), "the chains are done: nothing but this is left to do"


def test_a_store_begun_before_there_was_one_gets_it(tmp_path: Path):
    c = config(num_draws=5)
    p = problem(c)
    make_store(tmp_path / "s", p, c)
    del zarr.open_group(tmp_path / "s", mode="r+")["init_loss_micro"]
    run(p, c, make_store(tmp_path / "s", p, c))
    assert np.isfinite(open_samples(tmp_path / "s")["init_loss_micro"].values).all()
