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


def test_the_trial_passes() -> None:
    assert sparse_products.right(sparse_triton, torch.device("cpu"))


@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile(capability: int) -> None:
    module = "interp_tui_engine.dictionaries.sparse_triton"
    sums = {"out": "*fp32", "values": "*fp32", "order": "*i64", "indices": "*i64", "offsets": "*i64", "matrix": "*fp32", "width": "i32"}
    code = compiled(module, "_row_sums", sums, {"ORDERED": True, "BLOCK": 512}, ["out", "matrix", "width"], capability)
    assert code.stack == 0 and code.instructions["st.global.v4.b32"]
    dots = {"out": "*fp32", "lefts": "*i64", "rights": "*i64", "left": "*fp32", "right": "*fp32", "width": "i32"}
    code = compiled(module, "_row_dots", dots, {"BLOCK": 512}, ["left", "right", "width"], capability)
    assert code.stack == 0 and not [name for name in code.instructions if name.startswith("fma")]
