"""Few active latents: top-k without all pre-activations, and products by the kernel (here a slow reference in its place)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from interp_tui_engine.dictionaries import sparse, sparse_products
from interp_tui_engine.dictionaries.architecture import preactivations
from interp_tui_engine.dictionaries.batch_topk import largest_of_groups
from interp_tui_engine.dictionaries.learner import Learner
from interp_tui_engine.dictionaries.names import Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.sparse import Codes, Pattern
from interp_tui_engine.dictionaries.topk import top_of_groups
from interp_tui_engine.dictionaries.weights import Weights, tied
from references import sparse_rows as reference

WIDTH, LATENTS, BATCH, K = 12, 300, 16, 5


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kernels were called."""
    for module in (sparse, sparse_products):
        monkeypatch.setattr(module, "kernel_on", lambda device: reference)
    reference.CALLS.clear()
    return reference.CALLS


def some_weights() -> Weights:
    draw = torch.Generator().manual_seed(1)
    weights = tied(LATENTS, torch.randn(200, WIDTH, generator=draw), draw)
    return weights.map(lambda tensor: tensor + 0.01 * torch.randn(tensor.shape, generator=draw))


def batch(seed: int) -> torch.Tensor:
    return torch.randn(BATCH, WIDTH, generator=torch.Generator().manual_seed(seed))


class _Widest(TorchDispatchMode):
    """The most numbers of any result that has a column a latent of some group."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else [result]:
            if isinstance(part, torch.Tensor) and part.shape[:1] == (BATCH,) and not func.is_view:
                self.numbers = max(self.numbers, part.numel())
        return result


@pytest.mark.parametrize("group", [1, 3, 64, 100, LATENTS, 10 * LATENTS])
def test_the_largest_by_groups_are_the_largest_of_all(group: int) -> None:
    weights, x = some_weights(), batch(0)
    with torch.no_grad():
        want = preactivations(weights, x)
        with _Widest() as widest:
            values, latents = top_of_groups(weights, x, K, group * BATCH)
        assert widest.numbers <= max(group, 3 * K, WIDTH) * BATCH, "never all pre-activations"
        best = want.topk(K, dim=1)
        assert torch.equal(latents.sort(1).values, best.indices.sort(1).values)
        torch.testing.assert_close(values, want.gather(1, latents), rtol=1e-6, atol=1e-6)
        picked, places = largest_of_groups(weights, x, K * BATCH, group * BATCH)
        of_batch = want.view(-1).topk(K * BATCH)
        assert torch.equal(places, of_batch.indices.sort().values)
        torch.testing.assert_close(picked, want.view(-1)[places], rtol=1e-6, atol=1e-6)


def test_sums_and_gradients_are_the_dense_ones(kernel: list[str]) -> None:
    draw = torch.Generator().manual_seed(0)
    dense = torch.randn(4, 9, generator=draw) * (torch.rand(4, 9, generator=draw) < 0.4)
    dense[2] = 0.0  # an input without a latent
    codes = sparse.from_dense(dense)
    decoder, share = torch.randn(9, 700, generator=draw).requires_grad_(), torch.randn(4, 700, generator=draw)
    values = codes.values.clone().requires_grad_()
    decoded = sparse.decode(Codes(values, codes.pattern), decoder)
    (decoded * share).sum().backward()
    assert kernel.count("sums") == 2 and kernel.count("dots") == 1
    full = dense.clone().requires_grad_()
    other = decoder.detach().clone().requires_grad_()
    ((full @ other) * share).sum().backward()
    torch.testing.assert_close(decoded, dense @ decoder.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decoder.grad, other.grad, rtol=1e-5, atol=1e-5)
    assert full.grad is not None
    torch.testing.assert_close(values.grad, full.grad[codes.pattern.row_of, codes.pattern.latents], rtol=1e-4, atol=1e-4)


def test_no_entries_are_no_sum(kernel: list[str]) -> None:
    nothing = Pattern(torch.zeros(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 9)
    decoder = torch.ones(9, 7, requires_grad=True)
    decoded = sparse.decode(Codes(torch.zeros(0, requires_grad=True), nothing), decoder)
    decoded.sum().backward()
    assert not decoded.any() and decoder.grad is not None and not decoder.grad.any()


@pytest.mark.parametrize("architecture", ["topk", "batch_topk", "matryoshka", "gated", "jumprelu", "relu"])
def test_every_architecture_has_the_same_gradients_by_the_kernel(
    kernel: list[str], monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    learnt = []
    for by_kernel in (True, False):
        if not by_kernel:
            for module in (sparse, sparse_products):
                monkeypatch.setattr(module, "kernel_on", lambda device: None)
        sparsity = Sparsity(k=4, l1=0.1, l0=1.0, bandwidth=0.5, threshold=0.2, prefixes=3)
        start = tied(40, torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
        learner = Learner(
            build(architecture, 40, sparsity), start, Schedule(100, 1e-3, 1, 10, 1), auxk_coefficient=0.1, k_aux=4, dead_after=40
        )
        done = learner.differentiate((batch(0),))
        gradients = {name: weight.grad for name, weight in learner.weights.named().items() if weight.grad is not None}
        learnt.append(gradients | {"loss": done.loss, "fired": done.fired})
        learner.apply(batch(0), done)
        learner.step(batch(1))  # and goes on
        assert bool(kernel) is by_kernel or architecture not in ("topk", "batch_topk", "matryoshka")
        kernel.clear()
    for name, tensor in learnt[0].items():  # not the weights after Adam, which makes steps of 1 of gradients that are rounding
        torch.testing.assert_close(tensor, learnt[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_kernel_is_tried_before_it_is_used() -> None:
    here = torch.device("cpu")
    assert sparse_products.kernel_on(here) is None and sparse_products.right(reference, here)

    class Wrong:
        row_dots = staticmethod(reference.row_dots)

        @staticmethod
        def row_sums(values: Any, order: Any, indices: Any, offsets: Any, matrix: Any, out: torch.Tensor) -> None:
            reference.row_sums(values, order, indices, offsets, matrix, out)
            out *= 1.01

    assert not sparse_products.right(Wrong(), here)
    assert sparse_products.kernel_on(torch.device("cuda")) is None, "no GPU: the trial fails, and operations do it"


def test_products_in_bfloat16_are_an_option_and_weights_stay_in_float32() -> None:
    learnt = []
    for bf16 in (None, False, True):
        start = tied(40, torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
        schedule = Schedule(100, 1e-3, 1, 10, 1)
        learner = Learner(
            build("topk", 40, Sparsity(k=4, l1=0.1, l0=1.0, bandwidth=0.5, threshold=0.2, prefixes=3)),
            start,
            schedule,
            auxk_coefficient=0.1,
            k_aux=4,
            dead_after=40,
            bf16=bf16,
        )
        for step in range(4):
            learner.step(batch(step))
        assert all(tensor.dtype == torch.float32 for tensor in learner.weights.named().values())
        learnt.append(learner.weights)
    default, exact, rounded = learnt
    assert torch.equal(default.encoder, exact.encoder), "float32 on a CPU unless asked for otherwise"
    assert not torch.equal(exact.encoder, rounded.encoder)
    torch.testing.assert_close(rounded.encoder, exact.encoder, rtol=0.0, atol=0.02)  # a few steps of 1e-3, some another way
