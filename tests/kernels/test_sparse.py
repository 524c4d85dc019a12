"""The kernels of sparse dictionaries under Triton's interpreter: the bits of sums taken entry by entry."""

from __future__ import annotations

import pytest
import torch
from compiled import compiled

from interp_tui_engine.dictionaries import sparse_products, sparse_triton
from interp_tui_engine.dictionaries.sparse import from_dense
from references import sparse_rows as reference


@pytest.mark.parametrize("width", [1, 24, 512, 700])
def test_sums_and_dots_have_the_references_bits(width: int) -> None:
    draw = torch.Generator().manual_seed(0)
    dense = torch.randn(5, 9, generator=draw) * (torch.rand(5, 9, generator=draw) < 0.4)
    dense[2] = 0.0
    codes, decoder, gradient = from_dense(dense), torch.randn(9, width, generator=draw), torch.randn(5, width, generator=draw)
    pattern = codes.pattern
    mine, want = torch.full((2, 5, width), 99.0)
    for kernel, out in ((sparse_triton, mine), (reference, want)):
        kernel.row_sums(codes.values, None, pattern.latents, pattern.offsets, decoder, out)
    assert torch.equal(mine, want)
    torch.testing.assert_close(mine, dense @ decoder, rtol=1e-5, atol=1e-5)
    order, rows, offsets = pattern.by_latent
    mine, want = torch.full((2, 9, width), 99.0)
    for kernel, out in ((sparse_triton, mine), (reference, want)):
        kernel.row_sums(codes.values, order, rows, offsets, gradient, out)
    assert torch.equal(mine, want)
    mine, want = torch.full((2, codes.values.shape[0]), 99.0)
    for kernel, out in ((sparse_triton, mine), (reference, want)):
        kernel.row_dots(pattern.row_of, pattern.latents, gradient, decoder, out)
    assert torch.equal(mine, want)


@pytest.mark.parametrize(
    "counts",
    [[256], [257], [1, 256, 700], [255, 257, 257, 3], [300, 300, 0, 0, 260], [0, 511, 0, 513, 0], [256, 1024, 1]],
    ids=lambda counts: "-".join(map(str, counts)),
)
def test_long_sums_are_sums_of_parts_that_begin_with_them(counts: list[int]) -> None:
    draw, entries = torch.Generator().manual_seed(0), sum(counts)
    matrix, values = torch.randn(9, 3, generator=draw), torch.randn(entries, generator=draw)
    indices, order = torch.randint(9, (entries,), generator=draw), torch.randperm(entries, generator=draw)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    mine, want = torch.full((2, len(counts), 3), 99.0)
    for kernel, out in ((sparse_triton, mine), (reference, want)):
        kernel.row_sums(values, order, indices, offsets, matrix, out)
    assert torch.equal(mine, want)
    for group, count in enumerate(counts):  # alone: whatever stands around it
        begin = int(offsets[group])
        alone, places = torch.full((1, 3), 99.0), slice(begin, begin + count)
        sparse_triton.row_sums(values, order[places], indices[places], torch.tensor([0, count]), matrix, alone)
        assert torch.equal(alone[0], mine[group])
    exact = torch.zeros(len(counts), 3, dtype=torch.float64)
    exact.index_add_(0, torch.repeat_interleave(torch.tensor(counts)), (values[order, None] * matrix[indices]).double())
    torch.testing.assert_close(mine.double(), exact, rtol=1e-5, atol=1e-4)


def test_the_trial_passes() -> None:
    assert sparse_products.right(sparse_triton, torch.device("cpu"))


@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile(capability: int) -> None:
    module = "interp_tui_engine.dictionaries.sparse_triton"
    sums = {"out": "*fp32", "values": "*fp32", "order": "*i64", "indices": "*i64", "offsets": "*i64", "matrix": "*fp32", "width": "i32"}
    sums |= {"parts": "*fp32", "groups": "i32", "entries": "i32"}
    for kernel, written in (("_row_sums", "out"), ("_parts", "parts")):
        code = compiled(
            module, kernel, sums, {"ORDERED": True, "SPLIT": 256, "BLOCK": 512}, [written, "parts", "matrix", "width"], capability
        )
        assert code.stack == 0 and code.instructions["st.global.v4.b32"], kernel
        assert not [name for name in code.instructions if name.startswith("fma")]
    dots = {"out": "*fp32", "lefts": "*i64", "rights": "*i64", "left": "*fp32", "right": "*fp32", "width": "i32"}
    code = compiled(module, "_row_dots", dots, {"BLOCK": 512}, ["left", "right", "width"], capability)
    assert code.stack == 0 and not [name for name in code.instructions if name.startswith("fma")]
