"""The kernels of noise and update under Triton's interpreter: the bits of the numpy reference; and a chain by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from sampler_models import SERIAL, STACKED, config, llama, run, token_rows

from interp_tui_engine.samplers.fused import update
from interp_tui_engine.samplers.fused.plan import METHODS
from interp_tui_engine.samplers.fused.update_triton import launch
from interp_tui_engine.samplers.kernel import kernel_of
from interp_tui_engine.samplers.philox import PhiloxSource, StackedPhilox
from interp_tui_engine.samplers.philox_triton import fill
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.parameters import ParameterSpace
from interp_tui_engine.samplers.target.problem import ModuleTarget
from references import fused_update as reference
from references import philox


@pytest.mark.parametrize(
    ("seed", "chain", "stream", "step", "element", "count"),
    [
        (0, 0, "step", 0, 0, 1),
        (1, 0, "step", 1, 4, 7),
        (100, 3, "step", 2**31, 4 * 2**33, 1030),
        (5, 9, "init", 0, 65_536, 4096),
    ],
)
def test_noise_has_the_references_bits_and_numbers(seed: int, chain: int, stream: str, step: int, element: int, count: int) -> None:
    k0, k1, last = philox.key_of(seed, chain, stream)
    source = StackedPhilox([PhiloxSource(0, 0, [0], "other"), PhiloxSource(seed, chain, [0], stream)], torch.device("cpu"))
    both = torch.full((2, count + 3), 99.0)
    fill(both[:, :count], element, torch.tensor([step]), source.keys, source.lasts)
    out = both[1]
    assert (out[count:] == 99.0).all(), "nothing is written beyond the end"
    whole = reference.normals(element, -(-count // 4) * 4, step, k1 << 32 | k0, last)[:count]
    assert np.array_equal(out[:count].numpy(), whole)
    want = torch.tensor([philox.normal(seed, chain, stream, step, element + i) for i in range(count)], dtype=torch.float64)
    assert ((out[:count].double() - want).abs() <= 6e-6 + 2e-6 * want.abs()).all()


@triton.jit  # type: ignore[untyped-decorator]
def _words(out, counters, key, QUADS: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, QUADS)
    c0, c1 = tl.load(counters + at).to(tl.uint32), tl.load(counters + QUADS + at).to(tl.uint32)
    c2, c3 = tl.load(counters + 2 * QUADS + at).to(tl.uint32), tl.load(counters + 3 * QUADS + at).to(tl.uint32)
    a, b, c, d = tl.philox(tl.load(key), c0, c1, c2, c3)
    tl.store(out + at, a.to(tl.int64))
    tl.store(out + QUADS + at, b.to(tl.int64))
    tl.store(out + 2 * QUADS + at, c.to(tl.int64))
    tl.store(out + 3 * QUADS + at, d.to(tl.int64))


def test_words_are_the_published_ones_and_numpys() -> None:
    quads, draw = 64, np.random.default_rng(0)
    counters = draw.integers(0, 2**32, (4, quads), dtype=np.uint64)
    counters[:, 0], counters[:, 1] = 0, 2**32 - 1
    counters[:, 2] = 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344
    published = {0: (0, 0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8), 1: (2**64 - 1, 0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)}
    published[2] = (0x299F31D0_A4093822, 0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)  # Random123's kat_vectors
    for column, (key, *known) in published.items():
        out = torch.zeros(4, quads, dtype=torch.int64)
        signed = torch.from_numpy(np.array([key], dtype=np.uint64).view(np.int64))
        _words[(1,)](out, torch.from_numpy(counters.view(np.int64)), signed, QUADS=quads)
        assert out[:, column].tolist() == known
        assert np.array_equal(out.numpy().astype(np.uint64), np.stack(reference.words(list(counters), key)))


def steps_by(launcher: Any, method: str, settings: dict[str, float], dtype: torch.dtype, masked: bool) -> list[torch.Tensor]:
    """All that two steps of two chains write."""
    draw = torch.Generator().manual_seed(0)
    given = {name: torch.randn(shape, generator=draw) for name, shape in {"small": (37, 3), "wide": (6_001,)}.items()}
    masks = {"small": torch.ones(37, 3), "wide": (given["wide"] > 0).float()} if masked else None
    space, how = ParameterSpace(given, masks), SamplerConfig(lr=1e-3, n_beta=30.0, sampling_method=method, **settings)
    flat = space.anchor().repeat(2, 1)
    gradient = torch.randn(flat.shape, generator=draw).to(dtype)
    vectors = {name: value for name, value in vars(kernel_of(method).init(flat, how)).items() if name != "weights"}
    noise = StackedPhilox([PhiloxSource(7, chain, space.starts, "step") for chain in (4, 5)], flat.device)
    update.kernels = lambda: launcher  # put back by the fixture
    mine = update.FusedUpdate(space, how, flat, vectors, noise, gradient=gradient)
    for step in (2**32 - 1, 2**32):
        mine.of_stack(torch.tensor([step]))
    return [flat, *vectors.values(), mine.squares, mine.norms]


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "kernels", update.kernels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("settings", "dtype", "masked"),
    [
        ({}, torch.float32, False),
        ({"localization": 100.0, "llc_weight_decay": 1.0, "bounding_box_size": 0.02}, torch.float32, True),
        ({"localization": 100.0, "noise_level": 0.5}, torch.bfloat16, False),
    ],
    ids=["plain", "all terms, masked", "gradients in bfloat16"],
)
def test_an_update_has_the_references_bits(method: str, settings: dict[str, float], dtype: torch.dtype, masked: bool) -> None:
    mine, want = (steps_by(launcher, method, settings, dtype, masked) for launcher in (launch, reference.launch))
    assert all(torch.equal(*pair) for pair in zip(mine, want, strict=True))


@pytest.mark.parametrize(("mode", "dtype"), [("serial", None), ("serial", torch.bfloat16), ("stacked", None)])
def test_a_chain_by_tritons_kernels_is_the_references(mode: str, dtype: torch.dtype | None) -> None:
    executor = replace(SERIAL if mode == "serial" else STACKED, noise="philox", update="kernel")
    how, rows, traces = config(num_chains=2, num_draws=3, sampling_method="sgnht"), token_rows(), []
    for launcher in (launch, reference.launch):
        update.kernels = lambda launcher=launcher: launcher
        problem = ModuleTarget(llama(), rows, {"o": (rows, 2)}, 4, computes_in=dtype)
        traces.append(run(problem, how, executor=executor).snapshot.trace)
    assert np.isfinite(traces[0]).all() and np.array_equal(*traces)
