"""SGNHT: by hand, by its stationary law, and as any other method of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sampler_models import THREADS, VMAP, config, make_store, problem, run
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq

from interp_tui_engine.samplers import sgnht
from interp_tui_engine.samplers.chains.run import Command
from interp_tui_engine.samplers.chains.store import digests
from interp_tui_engine.samplers.settings import SamplerConfig


def cfg(**changes: object) -> SamplerConfig:
    given = {"lr": 0.01, "n_beta": 3.0, "sampling_method": "sgnht", "sampling_method_kwargs": {"diffusion_factor": 0.1}}
    return SamplerConfig(**{**given, **changes})  # type: ignore[arg-type]


def test_two_steps_by_hand():
    c = cfg(localization=4.0, llc_weight_decay=2.0, noise_level=0.5)
    w0, g, n = torch.tensor([0.5, -2.0, 0.0]), torch.tensor([2.0, 1.0, -1.0]), torch.tensor([0.3, -1.0, 2.0])
    mask = torch.tensor([1.0, 0.0, 1.0])
    w, v, xi = torch.tensor([1.0, -2.0, 0.5]), torch.zeros(3), 0.1
    state = sgnht.init(w.clone(), c)
    for _ in range(2):
        state = sgnht.step(state, g, n.clone(), w0, mask, c)
        sgnht.couple(state, 2, c)
        v = mask * ((1 - xi) * v - 0.01 * (3 * g + 4 * (w - w0) + 2 * w) + 0.5 * math.sqrt(2 * 0.1 * 0.01) * n)
        w = w + v
        xi = xi + float((v**2).sum()) / 2 - 0.01
    torch.testing.assert_close(state.weights, w)
    torch.testing.assert_close(state.momentum, v)
    torch.testing.assert_close(state.thermostat, torch.full((3,), xi))


def test_a_coordinate_that_meets_the_box_turns_round():
    c = cfg(bounding_box_size=0.1)
    state = sgnht.step(sgnht.init(torch.zeros(2), c), torch.tensor([100.0, 0.1]), torch.zeros(2), torch.zeros(2), None, c)
    assert state.weights.tolist() == pytest.approx([-0.1, -0.003])
    assert state.momentum.tolist() == pytest.approx([3.0, -0.003])


def stationary(a: list[float], lr: float, diffusion: float, gradient_noise: float) -> list[float]:
    """Variances of w for v' = (1-xi) v - lr a w + s n, w' = w + v', with the xi at which mean v^2 = lr: a linear system, solved."""
    s2 = 2 * diffusion * lr + (lr * gradient_noise) ** 2

    def law(xi: float) -> list[tuple[float, float]]:
        found = []
        for curvature in a:
            move = [[1 - lr * curvature, 1 - xi], [-lr * curvature, 1 - xi]]
            cov = solve_discrete_lyapunov(move, [[s2, s2], [s2, s2]])
            found.append((cov[0, 0], cov[1, 1]))
        return found

    xi = brentq(lambda x: sum(v for _, v in law(x)) / len(a) - lr, 1e-3, 0.9)
    return [w for w, _ in law(xi)]


@pytest.mark.parametrize("gradient_noise", [0.0, 3.0])
def test_on_a_gaussian_it_has_the_law_of_its_recursion_whatever_the_gradient_noise(gradient_noise):
    """And that law is within a few per cent of the posterior's 1/a, where SGLD with such gradients would be far off."""
    n, lr, diffusion = 20_000, 0.002, 0.02
    curvatures = torch.tensor([1.0, 4.0]).repeat_interleave(n)
    c = cfg(lr=lr, n_beta=1.0, sampling_method_kwargs={"diffusion_factor": diffusion})
    generator = torch.Generator().manual_seed(0)
    state = sgnht.init(curvatures.rsqrt() * torch.randn(2 * n, generator=generator), c)
    for _ in range(1000):
        gradient = curvatures * state.weights + gradient_noise * torch.randn(2 * n, generator=generator)
        state = sgnht.step(state, gradient, torch.randn(2 * n, generator=generator), torch.zeros(2 * n), None, c)
        sgnht.couple(state, 2 * n, c)
    want = stationary([1.0, 4.0], lr, diffusion, gradient_noise)
    found = [float(state.weights[:n].var()), float(state.weights[n:].var())]
    assert found == pytest.approx(want, rel=4 * math.sqrt(2 / n))  # relative standard error of a variance of n draws: sqrt(2/n)
    assert want == pytest.approx([1.0, 0.25], rel=0.05)


def method(**changes: object) -> SamplerConfig:
    return config(sampling_method="sgnht", localization=50.0, num_draws=5, num_burnin_steps=2, **changes)


def test_threads_resume_bit_equal_and_stacked_chains_agree(tmp_path: Path):
    c = method()
    found = {}
    for name, executor in (("threads", THREADS), ("vmap", VMAP)):
        p = problem(c)
        store = make_store(tmp_path / name, p, c)
        assert not run(p, c, store, executor=executor).interrupted
        found[name] = store
    p = problem(c)
    store = make_store(tmp_path / "stopped", p, c)
    polls = iter([Command.GO, Command.STOP])
    run(p, c, store, executor=THREADS, folder=tmp_path / "saved", poll=lambda: next(polls, Command.STOP))
    p = problem(c)
    assert not run(p, c, store, executor=THREADS, folder=tmp_path / "saved").interrupted
    assert digests(tmp_path / "stopped") == digests(tmp_path / "threads")
    import zarr

    losses = [zarr.open_group(tmp_path / name, mode="r")["sampling_loss_micro"][:] for name in ("threads", "vmap")]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=1e-5)


def test_settings_it_cannot_have_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1, not 0"):
        cfg(sampling_method_kwargs={"diffusion_factor": 0.0})
    with pytest.raises(ValueError, match="unknown; allowed: diffusion_factor"):
        cfg(sampling_method_kwargs={"alpha": 0.5})
    with pytest.raises(ValueError, match="save_metrics takes Langevin steps apart"):
        cfg(save_metrics=True)
    with pytest.raises(ValueError, match="acceptance_every takes Langevin steps apart"):
        cfg(acceptance_every=1)
