"""Randomness as a function of its key."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from interp_tui_engine.errors import UserError
from interp_tui_engine.samplers.batches import OBSERVABLE_SEED, BatchOrder, observable_rows
from interp_tui_engine.samplers.noise import NoiseSource
from interp_tui_engine.samplers.settings import SamplerConfig

CPU = torch.device("cpu")


def draw(seed: int = 1, chain: int = 0, step: int = 0, block: int = 0, stream: str = "step", n: int = 64, blocks: int = 3) -> torch.Tensor:
    return NoiseSource(seed, chain, blocks, stream, CPU).fill(torch.empty(n), step, block)


def test_noise_is_a_function_of_its_key():
    source = NoiseSource(1, 0, 3, "step", CPU)
    for step in (5, 2, 9):  # any order
        assert torch.equal(source.fill(torch.empty(64), step, 1), draw(step=step, block=1))
    different = [draw(), draw(seed=2), draw(chain=1), draw(step=1), draw(block=1), draw(stream="init")]
    for i, a in enumerate(different):
        for b in different[:i]:
            assert not torch.equal(a, b) and abs(float((a * b).mean())) < 5 / math.sqrt(64)


def test_noise_is_standard_normal():
    x = torch.cat([draw(step=s, n=4096) for s in range(50)]).double()
    n = x.numel()
    assert abs(float(x.mean())) < 4 / math.sqrt(n)
    assert abs(float(x.var()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float((x**4).mean()) - 3) < 4 * math.sqrt(96 / n)


@given(st.integers(0, 2**40), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_seeds_of_one_chain_never_repeat(seed, start):
    source = NoiseSource(seed, 3, 100, "step", CPU)
    seeds = [source._seed(i) for i in range(start, start + 2000)]
    assert len(set(seeds)) == 2000 and all(0 <= s < 2**32 for s in seeds)


def config(**changes: object) -> SamplerConfig:
    return SamplerConfig(**{"lr": 1e-3, "n_beta": 1.0, "batch_size": 4, "num_draws": 5, "num_init_loss_batches": 2, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_order_is_that_of_devinterps_data_loader(shuffle):
    c = config(shuffle=shuffle)
    loader = DataLoader(range(18), batch_size=4, shuffle=shuffle, drop_last=True, generator=torch.Generator().manual_seed(c.init_seed))
    epoch = [b.tolist() for b in loader]
    order = BatchOrder(18, c)
    assert [order.batch(i, 0).tolist() for i in range(8)] == epoch + epoch  # "cycle" replays the first epoch
    assert [b.tolist() for b in order.init_loss_batches()] == epoch[:2]


def test_chains_share_batches_only_when_matched():
    matched, own = BatchOrder(40, config()), BatchOrder(40, config(match_sampling_input_ids_across_chains=False))
    assert torch.equal(matched.batch(3, 0), matched.batch(3, 7))
    assert not torch.equal(own.batch(3, 0), own.batch(3, 7))
    assert torch.equal(own.batch(3, 0), matched.batch(3, 0))


def test_a_step_takes_the_next_micro_batches():
    order = BatchOrder(40, config(gradient_accumulation_steps=3))
    assert [b.tolist() for b in order.step(1, 0)] == [order.batch(i, 0).tolist() for i in (3, 4, 5)]


def test_too_few_rows_are_the_users_error():
    with pytest.raises(UserError, match="batch_size = 4, but the sampling data has 3 rows"):
        BatchOrder(3, config())
    with pytest.raises(UserError, match="needs 5 batches"):
        BatchOrder(16, config(epoch_mode="once"))
    BatchOrder(20, config(epoch_mode="once"))
    with pytest.raises(UserError, match="observable 'x' needs 9 rows"):
        observable_rows("x", 8, 9, OBSERVABLE_SEED)


def test_observable_rows_are_devinterps():
    assert observable_rows("x", 50, 6, OBSERVABLE_SEED) == random.Random(1337).sample(range(50), 6)
