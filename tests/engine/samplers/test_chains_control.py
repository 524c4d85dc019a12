"""Commands, failures, memory: what a run does when it is not left alone."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
import zarr
from sampler_models import SERIAL, THREADS, VMAP, config, make_store, problem, run, tiny_lm, token_rows

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.estimators.llc import compute_llc
from interp_tui_engine.samplers.chains.run import Command
from interp_tui_engine.samplers.chains.store import digests, open_samples
from interp_tui_engine.samplers.target.problem import FunctionTarget, ModuleTarget


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
def test_a_chain_that_diverges_fails_alone(tmp_path, executor):
    c = config(num_draws=8, localization=0.0)
    # The loss is log of a weight that noise alone moves: some chains reach below zero, where it is NaN, and some do not.
    params = {"w": torch.full((1,), 0.05)}
    data = torch.zeros(16, 1)

    def make() -> FunctionTarget:
        return FunctionTarget(
            lambda p, batch: torch.log(p["w"]) * 0 + torch.sqrt(p["w"]) * 0 + batch[:, 0], params, data, {"obs": (data, 1)}, 4
        )

    c = config(lr=5e-4, n_beta=0.0, localization=0.0, num_draws=12, num_chains=8)
    p = make()
    store = make_store(tmp_path / "s", p, c)
    result = run(p, c, store, executor)
    failed = {s.chain: s for s in result.snapshot.chains if not s.healthy}
    assert 0 < len(failed) < 8
    assert all(s.failed_reason == "the loss is not finite" and 0 < s.failed_step <= 12 for s in failed.values())
    group = zarr.open_group(tmp_path / "s", mode="r")
    losses = group["sampling_loss_micro"][...]
    for chain in range(8):
        assert np.isnan(losses[chain]).all() if chain in failed else np.isfinite(losses[chain]).all()
        assert np.isnan(result.snapshot.trace[chain]).all() == (chain in failed)
    assert group.attrs["completed"] == 1 and set(group.attrs["failed_chains"]) == {str(c) for c in failed}
    llc = compute_llc(open_samples(tmp_path / "s"))
    assert llc.attrs["failed_chains"] == sorted(failed) and np.isfinite(float(llc.llc_mean))


def test_all_chains_failed_has_no_llc(tmp_path):
    c = config(lr=1e6)
    p = problem(c)
    result = run(p, c, make_store(tmp_path / "s", p, c))
    assert not any(s.healthy for s in result.snapshot.chains) and result.snapshot.steps_done == 4 * c.num_sgld_steps
    with pytest.raises(RunFailed, match="no chain is healthy"):
        compute_llc(open_samples(tmp_path / "s"))


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), torch.OutOfMemoryError("CUDA out of memory")]
)
@pytest.mark.parametrize("executor", [SERIAL, THREADS], ids=lambda e: e.mode)
def test_out_of_memory_cuts_the_micro_batch_and_goes_on(error, executor):
    def hungry(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[0] > 3:
            raise error
        logits = model(ids)
        return -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]

    c = config(batch_size=12, num_chains=2, num_draws=5)
    rows = token_rows()
    warnings: list[str] = []
    cut = run(ModuleTarget(tiny_lm(), rows, {"o": (rows, 1)}, 12, loss_fn=hungry), c, executor=executor, warn=warnings.append)
    whole = run(ModuleTarget(tiny_lm(), rows, {"o": (rows, 1)}, 12), c, executor=executor)
    np.testing.assert_allclose(cut.snapshot.trace, whole.snapshot.trace, rtol=1e-5)
    assert [w for w in warnings if "4 parts of at most 3 rows" in w] and len(warnings) == 2


def test_out_of_memory_at_an_observable_does_not_repeat_the_update():
    def hungry(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[0] > 2 and not torch.is_grad_enabled() and not getattr(hungry, "init", True):
            raise torch.OutOfMemoryError("no")
        hungry.init = False  # type: ignore[attr-defined]
        logits = model(ids)
        return -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]

    c = config(num_chains=1, num_init_loss_batches=1)
    rows = token_rows()
    cut = run(ModuleTarget(tiny_lm(), rows, {"o": (rows, 1)}, 4, loss_fn=hungry), c)
    whole = run(ModuleTarget(tiny_lm(), rows, {"o": (rows, 1)}, 4), c)
    np.testing.assert_allclose(cut.snapshot.trace, whole.snapshot.trace, rtol=1e-5)


def test_out_of_memory_with_one_row_ends_the_run():
    def hungry(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no")

    c = config(num_chains=1)
    rows = token_rows()
    with pytest.raises(RunFailed, match="one row"):
        run(ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=hungry), c)


def test_other_errors_surface_in_the_caller():
    def broken(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("mine")

    c = config(num_chains=2)
    rows = token_rows()
    with pytest.raises(ZeroDivisionError, match="mine"):
        run(ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=broken), c, executor=THREADS)


def test_a_wrong_loss_shape_is_the_users_error():
    c = config(num_chains=1)
    rows = token_rows()
    with pytest.raises(UserError, match="loss_fn returned shape"):
        run(ModuleTarget(tiny_lm(), rows, {}, 4, loss_fn=lambda m, ids: m(ids).sum()), c)


@pytest.mark.parametrize("executor", [SERIAL, THREADS, VMAP], ids=lambda e: e.mode)
def test_stopped_and_resumed_equals_undisturbed(tmp_path, executor):
    c = config(num_draws=40, num_burnin_steps=2, num_steps_bw_draws=2, save_metrics=True)
    p = problem(c)
    straight = run(p, c, make_store(tmp_path / "a", p, c), executor, folder=tmp_path / "ck-a")
    assert not straight.interrupted
    enough = 4 if executor.workers > 1 else 0  # a look is 20 ms of several workers' time, and a whole turn where the caller is the worker
    attempts = 0
    while True:
        attempts += 1
        looks = iter(range(10**9))
        result = run(
            p,
            c,
            make_store(tmp_path / "b", p, c),
            executor,
            folder=tmp_path / "ck-b",
            poll=lambda it=looks: Command.STOP if next(it) > enough else Command.GO,
        )
        if not result.interrupted:
            break
        assert zarr.open_group(tmp_path / "b", mode="r").attrs["completed"] == 0
    assert attempts > 1
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert np.array_equal(straight.snapshot.trace, result.snapshot.trace)
    assert [(s.mean_loss, s.tokens) for s in straight.snapshot.chains] == [(s.mean_loss, s.tokens) for s in result.snapshot.chains]


def test_pause_holds_between_steps():
    c = config(num_draws=400, num_chains=1)
    seen: list[int] = []
    begun = time.perf_counter()

    def poll() -> Command:
        return Command.PAUSE if 0.2 < time.perf_counter() - begun < 0.8 else Command.GO

    moments: list[tuple[float, int]] = []
    result = run(
        problem(c), c, poll=poll, report=lambda s: moments.append((time.perf_counter() - begun, s.chains[0].step)), report_every=0.05
    )
    held = [step for at, step in moments if 0.5 < at < 0.8]
    assert len(set(held)) <= 1, seen
    assert result.snapshot.chains[0].step == 400


def test_checkpoint_on_command(tmp_path):
    c = config(num_draws=300, num_chains=1)
    asked = threading.Event()

    def poll() -> Command:
        if (tmp_path / "init_loss.pt").exists() and not asked.is_set():
            asked.set()
            return Command.CHECKPOINT
        if (tmp_path / "chain-00000.pt").exists():
            return Command.STOP
        return Command.GO

    result = run(problem(c), c, folder=tmp_path, poll=poll)
    assert (tmp_path / "chain-00000.pt").exists() and asked.is_set()
    assert not list(tmp_path.glob("*.tmp*"))
    assert result.snapshot.chains[0].step <= 300


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    c = config(num_chains=1, num_draws=2)
    run(problem(c), c, folder=tmp_path)
    with pytest.raises(RunFailed, match="another configuration"):
        run(problem(c, masks={"out.bias": None}), c, folder=tmp_path)


def test_snapshots_grow_and_end_complete():
    c = config(num_draws=60)
    steps: list[int] = []
    result = run(problem(c), c, executor=THREADS, report=lambda s: steps.append(s.steps_done), report_every=0.01)
    assert steps == sorted(steps) and steps[-1] == 4 * 60
    last = result.snapshot
    assert np.isfinite(last.trace).all() and last.tokens_per_second > 0
    assert all(s.distance and s.gradient_norm and s.tokens == 60 * 4 * 8 for s in last.chains)
    assert last.chains[0].mean_loss == pytest.approx(last.trace[0].mean(), rel=1e-12)
