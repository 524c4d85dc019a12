"""Philox noise: known answers, the slow reference, and what a chain's numbers must not depend on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampler_models import SERIAL, THREADS, VMAP, config, cut_into, problem, run

from interp_tui_engine.errors import RunFailed
from interp_tui_engine.samplers.chains.executor import Executor, choose_executor
from interp_tui_engine.samplers.noise import noise_source
from interp_tui_engine.samplers.philox import PhiloxSource, random_words
from interp_tui_engine.samplers.target import parameters
from references import fused_update as numpy_kernel
from references import philox as reference
from simulated_gpu import GPU, simulated_gpu

# Random123's kat_vectors, philox4x32 10
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]
NUMBERS = 1 << 20


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_words_are_those_of_the_published_test_vectors(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    assert reference.words(counter, key) == answer  # type: ignore[arg-type]
    assert tuple(int(word) for word in random_words(tuple(torch.tensor([word]) for word in counter), key)) == answer  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    chain=st.integers(0, 99),
    stream=st.sampled_from(["step", "init"]),
    step=st.integers(0, 2**31),
    quad=st.integers(0, 2**38),
    extra=st.integers(0, 9),
)
def test_numbers_are_those_of_the_slow_reference(seed: int, chain: int, stream: str, step: int, quad: int, extra: int) -> None:
    drawn = PhiloxSource(seed, chain, [4 * quad], stream).fill(torch.empty(4 + extra), step, 0)
    want = [reference.normal(seed, chain, stream, step, 4 * quad + i) for i in range(4 + extra)]
    # float32 roundings of the two uniforms: relative 2^-24 of u under the root of its log, 2^-24 of an angle up to 2 pi
    np.testing.assert_allclose(drawn.numpy(), want, atol=6e-6, rtol=2e-6)


def test_an_element_has_the_same_bits_in_blocks_of_any_size() -> None:
    whole = PhiloxSource(1, 2, [0], "step").fill(torch.empty(1 << 18), 5, 0)
    for cut in (4, 64, 65_536, 100_000):
        starts = list(range(0, 1 << 18, cut))[:5]
        source = PhiloxSource(1, 2, starts, "step")
        for block in reversed(range(len(starts))):
            size = min(cut, (1 << 18) - starts[block])
            assert torch.equal(source.fill(torch.empty(size), 5, block), whole[starts[block] : starts[block] + size])


def by_operations(chain: int, step: int, stream: str) -> np.ndarray:
    return PhiloxSource(7, chain, [0], stream).fill(torch.empty(NUMBERS), step, 0).numpy()


def by_the_kernel(chain: int, step: int, stream: str) -> np.ndarray:
    """The bits of the kernel, whose logarithm, sine and cosine are its own."""
    k0, k1, last = reference.key_of(7, chain, stream)
    return numpy_kernel.normals(0, NUMBERS, step, k1 << 32 | k0, last)


@pytest.mark.parametrize("numbers", [by_operations, by_the_kernel])
def test_numbers_are_normal_and_independent(numbers: Callable[[int, int, str], np.ndarray]) -> None:
    wanted: list[tuple[int, int, str]] = [(0, 0, "step"), (1, 0, "step"), (0, 1, "step"), (0, 0, "init")]
    draws = {names: torch.from_numpy(numbers(*names)).double() for names in wanted}
    error = NUMBERS**-0.5  # of a mean of variables of variance 1
    for x in draws.values():
        for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10_170)):
            assert abs(float((x**power).mean()) - moment) < 5 * error * variance**0.5, power
        for lag in (1, 2, 3, 4, 64, 65_536):
            assert abs(float((x[lag:] * x[:-lag]).mean())) < 5 * error
        assert abs(float((x.abs() > 3).double().mean()) - 0.0026998) < 5 * error * 0.0026998**0.5
    keys = list(draws)
    for i, left in enumerate(keys):
        for right in keys[:i]:
            assert abs(float((draws[left] * draws[right]).mean())) < 5 * error, (left, right)


@pytest.mark.parametrize("method", ["sgmcmc_sgld", "rmsprop_sgld"])
def test_a_chain_has_the_same_bits_in_one_block_or_many_in_any_order(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    c = config(num_chains=2, sampling_method=method, init_noise=0.01)
    in_order, ended = parameters.ChainWeights.gradients, []
    for block, backwards in ((1 << 16, False), (512, False), (512, True), (64, True)):
        turned = (lambda weights: reversed(list(in_order(weights)))) if backwards else in_order
        monkeypatch.setattr(parameters.ChainWeights, "gradients", turned)
        p = cut_into(problem(c), block)
        assert (len(p.space.blocks) > 1) is (block < 1 << 16)
        ended.append(run(p, c, executor=with_philox(SERIAL)).snapshot.trace)
    assert np.isfinite(ended[0]).all() and all(np.array_equal(ended[0], other) for other in ended[1:])


def test_a_gpus_numbers_are_those_of_the_cpu() -> None:
    here = PhiloxSource(3, 1, [0, 8], "step").fill(torch.empty(50_000), 9, 1)
    with simulated_gpu() as counts:
        there = noise_source("philox", 3, 1, [0, 8], "step", GPU).fill(torch.empty(50_000, device=GPU), 9, 1)
        assert not counts.waits
    torch.testing.assert_close(there.values, here, rtol=2e-6, atol=1e-6)  # log, cos and sin of vectors of other lengths


def test_the_mode_and_the_company_do_not_change_a_chains_noise() -> None:
    c = config(num_chains=2, init_noise=0.01)
    p = problem(c)
    traces = [run(p, c, executor=with_philox(executor)).snapshot.trace for executor in (SERIAL, THREADS, VMAP)]
    assert np.array_equal(traces[0], traces[1])
    np.testing.assert_allclose(traces[0], traces[2], rtol=2e-4)
    assert not np.allclose(traces[0], run(p, c, executor=SERIAL).snapshot.trace, rtol=1e-3), "other numbers than torch's"


def with_philox(executor: Executor) -> Executor:
    from dataclasses import replace

    return replace(executor, noise="philox")


def test_a_checkpoint_of_other_noise_is_refused(tmp_path) -> None:
    c = config(num_chains=1, num_draws=3)
    p = problem(c)
    run(p, c, executor=SERIAL, folder=tmp_path)
    with pytest.raises(RunFailed, match="another configuration"):
        run(p, c, executor=with_philox(SERIAL), folder=tmp_path)


def test_the_noise_asked_for_is_part_of_the_choice() -> None:
    c = config()
    p = problem(c)
    assert choose_executor(p, c, range(2), cores=1, memory=1 << 30).noise == "torch"
    assert choose_executor(p, c, range(2), cores=1, memory=1 << 30, noise="philox").record()["noise"] == "philox"
