"""Each architecture's loss and gradients against a dense reference or a sum done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interp_tui_engine.dictionaries import sparse
from interp_tui_engine.dictionaries.auxk import auxk_error
from interp_tui_engine.dictionaries.batch_topk import BatchTopK, largest
from interp_tui_engine.dictionaries.gated import Gated
from interp_tui_engine.dictionaries.geometric_median import geometric_median
from interp_tui_engine.dictionaries.jumprelu import JumpReLU
from interp_tui_engine.dictionaries.learner import Learner
from interp_tui_engine.dictionaries.matryoshka import Matryoshka, halving_prefixes
from interp_tui_engine.dictionaries.names import NAMES, Sparsity
from interp_tui_engine.dictionaries.registry import build
from interp_tui_engine.dictionaries.relu_l1 import ReluL1
from interp_tui_engine.dictionaries.schedule import Schedule
from interp_tui_engine.dictionaries.topk import TopK
from interp_tui_engine.dictionaries.weights import Weights, remove_parallel_, tied, unit_rows_
from references import sae_dense

M, D, K = 40, 12, 4
SPARSITY = Sparsity(k=K, l1=0.3, l0=0.5, bandwidth=0.4, threshold=0.2, prefixes=3)


def random_weights(seed: int = 0, latents: int = M) -> Weights:
    g = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(latents, D, generator=g), dim=1)
    return Weights(
        torch.randn(latents, D, generator=g) / 3, torch.randn(latents, generator=g) / 5, decoder, torch.randn(D, generator=g) / 2
    )


def leaves_of(weights: Weights) -> dict[str, Tensor]:
    return {name: tensor.clone().requires_grad_(True) for name, tensor in weights.named().items()}


def compare_gradients(fast: Tensor, fast_leaves: dict[str, Tensor], slow: Tensor, slow_leaves: dict[str, Tensor]) -> None:
    """Sums of at most some thousand float32 products: 1e-5 of the largest entry is a hundred roundings."""
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=0)
    fast.backward()
    slow.backward()
    for name, leaf in slow_leaves.items():
        if leaf.grad is None:
            continue
        scale = float(leaf.grad.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(fast_leaves[name].grad, leaf.grad, rtol=0, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_topk_gradients_equal_the_dense_ones(x: Tensor) -> None:
    fast, slow = leaves_of(random_weights()), leaves_of(random_weights())
    done = TopK(K).train(Weights(**fast), x, 1.0)
    codes = sae_dense.topk_codes(slow, x, K)
    compare_gradients(done.loss, fast, sae_dense.error(slow, x, codes), slow)
    assert torch.equal(done.fired, (codes > 0).sum(0).float())


def test_batch_topk_gradients_equal_the_dense_ones(x: Tensor) -> None:
    weights = BatchTopK(K).begin(random_weights())
    fast, slow = leaves_of(random_weights()), leaves_of(random_weights())
    done = BatchTopK(K).train(Weights(**fast, threshold=weights.threshold), x, 1.0)
    codes = sae_dense.batch_topk_codes(slow, x, K)
    compare_gradients(done.loss, fast, sae_dense.error(slow, x, codes), slow)
    assert int(done.fired.sum()) == K * len(x)
    assert done.smallest is not None and float(done.smallest) == pytest.approx(codes[codes > 0].min().item(), rel=1e-6)


def test_matryoshka_gradients_equal_the_dense_ones(x: Tensor) -> None:
    prefixes = (5, 17, M)
    fast, slow = leaves_of(random_weights()), leaves_of(random_weights())
    done = Matryoshka(K, prefixes).train(Weights(**fast, threshold=torch.zeros(M)), x, 1.0)
    codes = sae_dense.batch_topk_codes(slow, x, K)
    compare_gradients(done.loss, fast, sae_dense.matryoshka_error(slow, x, codes, prefixes), slow)


def test_auxk_gradients_equal_the_dense_ones(x: Tensor) -> None:
    dead = torch.zeros(M, dtype=torch.bool)
    dead[[1, 5, 6, 20, 33]] = True
    for k_aux in (2, 5, 9):
        fast, slow = leaves_of(random_weights()), leaves_of(random_weights())
        reconstruction = TopK(K).train(Weights(**fast), x, 1.0).reconstruction
        found = auxk_error(Weights(**fast), x, reconstruction, dead, k_aux)
        assert found is not None
        compare_gradients(found, fast, sae_dense.auxk(slow, x, sae_dense.topk_codes(slow, x, K), dead, k_aux), slow)
        assert fast["decoder"].grad is not None and float(fast["decoder"].grad[~dead].abs().max()) == 0
    assert auxk_error(random_weights(), x, x, torch.zeros(M, dtype=torch.bool), 4) is None


def test_a_latent_that_never_fires_gets_no_gradient(x: Tensor) -> None:
    weights = random_weights()
    weights.b_enc[7] = -100.0
    fast = leaves_of(weights)
    TopK(K).train(Weights(**fast), x, 1.0).loss.backward()
    assert fast["encoder"].grad is not None and float(fast["encoder"].grad[7].abs().max()) == 0


def test_learner_takes_the_reference_steps(x: Tensor) -> None:
    g = torch.Generator().manual_seed(8)
    batches = [x[torch.randperm(24, generator=g)[:16]] for _ in range(6)]
    start = random_weights()
    learner = Learner(TopK(K), start, Schedule(100, 0.01, 0, 0, 0), auxk_coefficient=0.0, k_aux=4, dead_after=1000)
    for batch in batches:
        learner.step(batch)
    want = sae_dense.train_topk({name: tensor.clone() for name, tensor in start.named().items()}, batches, K, 0.01)
    for name, tensor in want.items():
        # Adam divides by √v̂: a rounding of a tiny gradient is magnified, but a step is at most lr
        torch.testing.assert_close(learner.weights.named()[name].detach(), tensor, rtol=0, atol=0.01 * 1e-3)
    assert torch.allclose(learner.weights.decoder.norm(dim=1), torch.ones(M), atol=1e-6)


def test_relu_l1_loss_by_hand() -> None:
    weights = Weights(torch.eye(2), torch.tensor([0.0, -1.0]), torch.eye(2), torch.tensor([1.0, 1.0]))
    x = torch.tensor([[3.0, 1.5], [0.0, 4.0]])
    # x − b_dec = (2, .5), (−1, 3); h = (2, −.5), (−1, 2); z = (2, 0), (0, 2); x̂ = (3, 1), (1, 3)
    done = ReluL1(l1=0.5).train(weights, x, 0.5)
    assert done.error.item() == pytest.approx((0.25 + (1 + 1)) / 2)
    assert float(done.loss) == pytest.approx(1.125 + 0.5 * 0.5 * 2)
    assert done.fired.tolist() == [1, 1]


def test_jumprelu_kernel_by_hand() -> None:
    weights = Weights(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), threshold=torch.tensor([0.5, 0.5], requires_grad=True))
    x = torch.tensor([[0.6, 2.0], [0.4, 0.1]])
    done = JumpReLU(k=1, l0=0.0, bandwidth=0.4, start=0.5).train(weights, x, 1.0)
    # codes (.6, 2), (0, 0): error (.4² + .1²)/2
    assert done.error.item() == pytest.approx((0.16 + 0.01) / 2)
    done.loss.backward()
    # ∂z/∂θ = −θ/ε within ε/2 of θ: h = .6 (∂loss/∂z = 0) and .4 (∂loss/∂z = −2·.4/2); the second latent is nowhere near
    assert weights.threshold is not None and weights.threshold.grad is not None
    torch.testing.assert_close(weights.threshold.grad, torch.tensor([-(0.5 / 0.4) * -0.4, 0.0]))

    weights = Weights(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), threshold=torch.tensor([0.5, 0.5], requires_grad=True))
    done = JumpReLU(k=4, l0=2.0, bandwidth=0.4, start=0.5).train(weights, x, 0.5)
    assert float(done.loss - done.error) == pytest.approx(2.0 * 0.5 * 4 * (1 / 4 - 1) ** 2)  # L0 = 1 a token
    assert done.fired.tolist() == [1, 1]


def test_jumprelu_counts_no_silent_input_as_near_its_threshold() -> None:
    """For h ~ N(m, 1), dL0/dθ is minus the normal density at θ, averaged over the kernel: inputs far below 0 are not near a small θ."""
    samples, bandwidth, threshold = 200_000, 1.0, 0.1
    for mean in (0.0, -3.0):
        noise = torch.randn(samples, 1, generator=torch.Generator().manual_seed(0)) + mean
        weights = Weights(torch.ones(1, 1), torch.zeros(1), torch.zeros(1, 1), torch.zeros(1), torch.tensor([threshold]))
        weights.threshold.requires_grad_(True)
        # of the penalty l0·k·(L0/k − 1)² only what follows L0; its slope by L0 is taken out
        done = JumpReLU(k=1, l0=1.0, bandwidth=bandwidth, start=threshold).train(weights, noise, 1.0)
        l0 = (noise > threshold).float().mean()
        slope = torch.autograd.grad(done.loss, weights.threshold)[0].item() / (2 * (l0.item() - 1))
        ends = torch.tensor([threshold + bandwidth / 2, threshold - bandwidth / 2]) - mean
        mass = torch.special.ndtr(ends[0]) - torch.special.ndtr(ends[1])
        assert slope == pytest.approx(-mass.item() / bandwidth, abs=4 / samples**0.5 / bandwidth)


def test_jumprelu_penalty_steers_the_thresholds_towards_k(x: Tensor) -> None:
    for k, sign in ((1, -1), (30, 1)):
        weights = JumpReLU(k, 1.0, 0.4, 0.2).begin(random_weights())
        assert weights.threshold is not None
        weights.threshold.requires_grad_(True)
        done = JumpReLU(k, 1.0, 0.4, 0.2).train(weights, x, 1.0)
        (done.loss - done.error).backward()
        assert weights.threshold.grad is not None
        assert bool((sign * weights.threshold.grad >= 0).all()) and bool((weights.threshold.grad != 0).any())


def test_gated_loss_by_hand() -> None:
    weights = Weights(
        torch.eye(2), torch.tensor([-1.0, 0.0]), torch.eye(2), torch.zeros(2), r_mag=torch.tensor([math.log(2), 0.0]), b_mag=torch.zeros(2)
    )
    x = torch.tensor([[1.5, -1.0]])
    # π = (.5, −1); magnitude = (3, −1) → z = (3, 0); ReLU(π) = (.5, 0), x̂_gate = (.5, 0)
    done = Gated(l1=0.1).train(weights, x, 1.0)
    assert done.error.item() == pytest.approx(1.5**2 + 1)
    assert float(done.loss) == pytest.approx(3.25 + 0.1 * 0.5 + 1 + 1)


def test_gated_auxiliary_term_leaves_the_decoder_alone(x: Tensor) -> None:
    given = Gated(0.0).begin(random_weights())
    whole, alone = leaves_of(given), leaves_of(given)
    Gated(0.0).train(Weights(**whole), x, 1.0).loss.backward()
    Gated(0.0).train(Weights(**alone), x, 1.0).error.backward()
    torch.testing.assert_close(whole["decoder"].grad, alone["decoder"].grad)
    assert not torch.equal(whole["encoder"].grad, alone["encoder"].grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_scaled_does_in_raw_units_what_was_learnt_in_scaled_ones(name: str, x: Tensor) -> None:
    architecture = build(name, M, SPARSITY)  # type: ignore[arg-type]
    weights = architecture.begin(random_weights())
    if weights.threshold is not None:
        weights.threshold.fill_(0.3)
    factor = 2.5
    raw, inside = architecture.encode(weights.scaled(factor), x), architecture.encode(weights, x * factor)
    torch.testing.assert_close(raw.dense() * factor, inside.dense(), rtol=1e-4, atol=1e-5)
    assert torch.equal(raw.dense() > 0, inside.dense() > 0)


def test_largest_is_exact_whatever_the_guess() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(1))
    want = values.topk(40).values
    for guess in (-9.0, 0.0, float(want[-1]) - 1e-3, 1.5, 9.0):
        assert torch.equal(values[largest(values, 40, guess)].sort(descending=True).values, want)


def test_batch_topk_threshold_follows_the_smallest_code(x: Tensor) -> None:
    learner = Learner(BatchTopK(K), random_weights(), Schedule(9, 0.0, 0, 0, 0), auxk_coefficient=0.0, k_aux=1, dead_after=99)
    learner.step(x)
    first = sae_dense.batch_topk_codes(random_weights().named(), x, K)
    learner.step(x * 2)
    second = sae_dense.batch_topk_codes(random_weights().named(), x * 2, K)
    want = 0.99 * float(first[first > 0].min()) + 0.01 * float(second[second > 0].min())
    assert learner.weights.threshold is not None
    assert learner.weights.threshold.tolist() == pytest.approx([want] * M, rel=1e-5)


def test_dead_latents_are_counted_in_tokens_and_revived_by_auxk(x: Tensor) -> None:
    start = random_weights()
    start.encoder[:10] = start.encoder[:10] * 1e-3  # ten latents too quiet to be among the top
    start.b_enc[:10] = 0.01
    dead = {}
    for coefficient in (0.0, 1 / 32):
        learner = Learner(TopK(K), start, Schedule(999, 0.01, 0, 0, 0), auxk_coefficient=coefficient, k_aux=10, dead_after=3 * len(x))
        for _ in range(3):
            learner.step(x)
        assert int(learner.dead.sum()) >= 10
        for _ in range(30):
            learner.step(x)
        dead[coefficient] = int(learner.dead[:10].sum())
    assert dead[0.0] == 10 and dead[1 / 32] <= 5


def test_running_numbers_are_those_of_the_batches(x: Tensor) -> None:
    learner = Learner(TopK(K), random_weights(), Schedule(9, 0.0, 0, 0, 0), auxk_coefficient=0.0, k_aux=1, dead_after=99)
    learner.step(x[:10])
    learner.step(x[10:])
    p = random_weights().named()
    codes = sae_dense.topk_codes(p, x, K)
    residual = x - codes @ p["decoder"] - p["b_dec"]
    running, fired = learner.take_running()
    assert running.tokens == 24
    assert running.fvu == pytest.approx(float(residual.square().sum() / (x - x.mean(0)).square().sum()), rel=1e-5)
    assert running.l0 == pytest.approx(float((codes > 0).sum() / 24))
    assert torch.equal(fired, (codes > 0).sum(0).float()) and running.never_fired == int(((codes > 0).sum(0) == 0).sum())
    assert learner.take_running()[0].tokens == 0


def test_tied_start(x: Tensor) -> None:
    weights = tied(30, x, torch.Generator().manual_seed(0))
    assert torch.equal(weights.encoder, weights.decoder) and weights.encoder is not weights.decoder
    assert torch.allclose(weights.decoder.norm(dim=1), torch.ones(30))
    assert weights.b_enc.abs().max() == 0 and torch.equal(weights.b_dec, geometric_median(x))


def test_geometric_median_shrugs_off_an_outlier_and_meets_its_condition() -> None:
    g = torch.Generator().manual_seed(5)
    points = torch.randn(60, 3, generator=g, dtype=torch.float64)
    points[0] = 1e6
    centre = geometric_median(points)
    assert float(centre.abs().max()) < 0.5
    pulls = (points - centre) / (points - centre).norm(dim=1, keepdim=True)
    assert float(pulls.sum(0).norm()) < 0.01  # at the minimum the unit pulls cancel
    assert torch.equal(geometric_median(torch.ones(4, 2)), torch.ones(2))


def test_projection_and_normalisation() -> None:
    rows = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(2)), dim=1)
    gradient = torch.randn(6, 5, generator=torch.Generator().manual_seed(3))
    remove_parallel_(gradient, rows)
    assert float((gradient * rows).sum(1).abs().max()) < 1e-6
    matrix = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    unit_rows_(matrix)
    torch.testing.assert_close(matrix, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_schedule() -> None:
    schedule = Schedule(steps=100, lr=2.0, warmup=10, decay=20, pressure_warmup=4)
    assert [schedule.rate(step) for step in (0, 4, 9, 50, 80, 90, 99)] == pytest.approx([0.2, 1.0, 2.0, 2.0, 2.0, 1.0, 0.1])
    assert [schedule.pressure(step) for step in (0, 1, 3, 50)] == [0.25, 0.5, 1.0, 1.0]


def test_sparse_codes_and_dense_ones_are_the_same() -> None:
    dense = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0]])
    codes = sparse.from_dense(dense)
    assert torch.equal(codes.dense(), dense) and codes.pattern.offsets.tolist() == [0, 1, 1, 3]
    matrix = torch.arange(6.0).view(3, 2)
    torch.testing.assert_close(sparse.decode(codes, matrix), dense @ matrix)
    torch.testing.assert_close(sparse.scatter_sum(codes.values, codes.pattern, torch.eye(3)), dense.T)


def test_prefixes() -> None:
    assert halving_prefixes(512, 4) == (64, 128, 256, 512)
    assert halving_prefixes(3, 5) == (1, 3)
