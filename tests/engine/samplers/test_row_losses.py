"""Losses where a kernel makes them (here a slow reference in its place): the numbers of those by operations, nothing else changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sampler_models import llama, tiny_lm, token_rows
from torch.utils._python_dispatch import TorchDispatchMode

from interp_tui_engine.samplers.target import losses as fused
from interp_tui_engine.samplers.target import row_losses, stacked_llama
from interp_tui_engine.samplers.target.problem import ModuleTarget
from references import row_losses as reference


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kernels were called."""
    for module in (row_losses, fused, stacked_llama):
        monkeypatch.setattr(module, "kernel_on", lambda device: reference)
    reference.CALLS.clear()
    return reference.CALLS


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    h, weight, bias = torch.randn(13, 6, generator=draw), torch.randn(50, 6, generator=draw), torch.randn(50, generator=draw)
    return (3 * h).to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_(), torch.arange(13) * 3


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("budget", [1 << 20, 4 * 50 * 4])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_losses_and_gradients_are_those_of_plain_operations(
    request: pytest.FixtureRequest, by_kernel: bool, budget: int, softcap: float | None
) -> None:
    calls = request.getfixturevalue("kernel") if by_kernel else []
    h, weight, bias, target = inputs()
    share = torch.linspace(0.1, 1.0, 13)
    mine = fused.linear_cross_entropy(h, weight, bias, target, softcap, budget)
    (mine * share).sum().backward()
    gradients = [part.grad.clone() for part in (h, weight, bias) if part.grad is not None]
    for part in (h, weight, bias):
        part.grad = None
    z = h @ weight.T + bias
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    want = z.logsumexp(-1) - z.gather(-1, target[:, None])[:, 0]
    (want * share).sum().backward()
    torch.testing.assert_close(mine, want, rtol=1e-5, atol=1e-5)
    for mine_g, part in zip(gradients, (h, weight, bias), strict=True):
        torch.testing.assert_close(mine_g, part.grad, rtol=1e-4, atol=1e-5)
    chunks = 1 if budget == 1 << 20 else 4
    kept = chunks == 1 and softcap is None
    assert not by_kernel or calls == (["slopes"] if kept else ["losses"] * chunks + ["slopes"] * chunks)


def test_looking_makes_no_derivatives(kernel: list[str]) -> None:
    h, weight, bias, target = inputs()
    with torch.no_grad():
        fused.linear_cross_entropy(h, weight, bias, target, None, 1 << 20)
        logits = h @ weight.T + bias
        before = logits.clone()
        fused.cross_entropy(logits, target)
    assert kernel == ["losses", "losses"] and torch.equal(logits, before), "logits that a model hands out are left as they are"


class _Largest(TorchDispatchMode):
    """The most bytes of any result."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view:
            self.bytes = max(self.bytes, result.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("gradients", [False, True])
def test_no_array_is_larger_than_the_budget_for_logits(gradients: bool) -> None:
    """64 tokens of a vocabulary of 4,096 are a megabyte of logits; a sixteenth of it may be made at once."""
    draw, budget = torch.Generator().manual_seed(0), 1 << 16
    h, weight = torch.randn(64, 2, generator=draw).requires_grad_(), torch.randn(4096, 2, generator=draw).requires_grad_()
    with _Largest() as largest, torch.set_grad_enabled(gradients):
        made = fused.linear_cross_entropy(h, weight, None, torch.arange(64), None, budget)
        if gradients:
            made.sum().backward()
    assert largest.bytes <= budget


@pytest.mark.parametrize("own", [True, False], ids=["fused head", "own logits"])
def test_a_models_losses_and_gradients_are_the_same_by_the_kernel(kernel: list[str], monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    results = []
    for by_kernel in (True, False):
        if not by_kernel:
            for module in (row_losses, fused, stacked_llama):
                monkeypatch.setattr(module, "kernel_on", lambda device: None)
        problem = ModuleTarget(llama() if own else tiny_lm(), token_rows(), {}, 4)
        weights = problem.space.weights()
        losses = problem.bind(weights.leaves)(problem.batch(torch.arange(4)))
        losses.mean().backward()
        results.append([losses.detach(), *(gradient for _, gradient in weights.gradients())])
        assert bool(kernel) is by_kernel
        kernel.clear()
    for mine, want in zip(*results, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-6)


def test_a_stack_has_the_same_losses_and_gradients_by_the_kernel(kernel: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for by_kernel in (True, False):
        if not by_kernel:
            for module in (row_losses, fused, stacked_llama):
                monkeypatch.setattr(module, "kernel_on", lambda device: None)
        problem = ModuleTarget(llama(), token_rows(), {}, 4, budget=4 * 24 * 2 * 5)
        stacked = problem.stacked
        assert stacked is not None
        flat = problem.space.anchor().repeat(2, 1)
        gradient = torch.zeros_like(flat)
        kernel.clear()
        losses = stacked.gradient(flat, gradient, token_rows()[:4], 32, keep=0)
        with torch.no_grad():
            looked = stacked.losses(flat, token_rows()[:4])
        assert set(kernel) == ({"losses", "slopes"} if by_kernel else set())
        results.append([losses, gradient, looked])
    for mine, want in zip(*results, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-6)


def test_a_kernel_is_tried_before_it_is_used() -> None:
    here = torch.device("cpu")
    assert row_losses.kernel_on(here) is None
    assert row_losses.right(reference, here)

    class Wrong:
        losses = staticmethod(reference.losses)

        @staticmethod
        def slopes_(logits: torch.Tensor, target: torch.Tensor, out: torch.Tensor | None) -> None:
            reference.slopes_(logits, target, out)
            logits *= 1.01

    assert not row_losses.right(Wrong(), here)
    assert row_losses.kernel_on(torch.device("cuda")) is None, "no GPU: the trial fails, and operations do it"
