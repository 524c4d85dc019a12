"""Cross-entropy without log_softmax, against log_softmax."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_tui_engine.samplers.target.losses import cross_entropy, linear_cross_entropy, plain_cross_entropy


def plain(h, weight, bias, target, softcap):
    z = h @ weight.T if bias is None else h @ weight.T + bias
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    return -torch.log_softmax(z, -1).gather(-1, target[:, None])[:, 0]


@given(
    n=st.integers(1, 40),
    v=st.integers(2, 50),
    with_bias=st.booleans(),
    softcap=st.sampled_from([None, 2.0]),
    budget=st.sampled_from([1, 1000, 1 << 20]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_losses_and_gradients_equal_log_softmax(n, v, with_bias, softcap, budget, seed):
    g = torch.Generator().manual_seed(seed)
    h, weight = torch.randn(n, 7, generator=g), torch.randn(v, 7, generator=g)
    bias = torch.randn(v, generator=g) if with_bias else None
    target, scale = torch.randint(0, v, (n,), generator=g), torch.rand(n, generator=g)
    leaves = [x for x in (h, weight, bias) if x is not None]
    results = []
    for function in (
        lambda: linear_cross_entropy(h, weight, bias, target, softcap, budget),
        lambda: plain(h, weight, bias, target, softcap),
    ):
        for x in leaves:
            x.requires_grad_(True)
            x.grad = None
        losses = function()
        (losses * scale).sum().backward()
        results.append([losses.detach(), *(x.grad.clone() for x in leaves)])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(h, weight, bias, target, softcap, budget), results[1][0], rtol=1e-4, atol=1e-5)


def test_logits_are_left_alone_and_get_the_right_gradient():
    logits = torch.randn(30, 11, requires_grad=True)
    before = logits.detach().clone()
    target = torch.randint(0, 11, (30,))
    weight = torch.rand(30)
    (got,) = torch.autograd.grad((cross_entropy(logits, target) * weight).sum(), logits)
    (want,) = torch.autograd.grad((-torch.log_softmax(logits, -1).gather(-1, target[:, None])[:, 0] * weight).sum(), logits)
    torch.testing.assert_close(got, want)
    assert torch.equal(logits.detach(), before)
    torch.testing.assert_close(plain_cross_entropy(logits, target), cross_entropy(logits, target))


def test_a_loss_beyond_the_range_of_exp_is_exact():
    """p_target underflows float32 here; lse - z_target does not."""
    logits = torch.tensor([[0.0, 500.0, -500.0]])
    for target, want in ((0, 500.0), (1, 0.0), (2, 1000.0)):
        assert float(cross_entropy(logits, torch.tensor([target]))) == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_non_finite_logits_give_a_non_finite_loss():
    for bad in (float("nan"), float("inf")):
        assert not torch.isfinite(cross_entropy(torch.tensor([[0.0, bad]]), torch.tensor([0]))).any()


def test_low_precision_gradients_keep_their_type():
    h = torch.randn(9, 8, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(13, 8, dtype=torch.bfloat16, requires_grad=True)
    losses = linear_cross_entropy(h, weight, None, torch.arange(9), None, 1 << 20)
    losses.mean().backward()
    assert losses.dtype == torch.float32 and h.grad.dtype == weight.grad.dtype == torch.bfloat16
    want = plain(h.detach().float(), weight.detach().float(), None, torch.arange(9), None)
    torch.testing.assert_close(losses.detach(), want, rtol=0.05, atol=0.05)
