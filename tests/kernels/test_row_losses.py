"""The kernels of losses under Triton's interpreter, against float64."""

from __future__ import annotations

import pytest
import torch
from compiled import compiled

from interp_tui_engine.samplers.target import row_losses, row_losses_triton
from references import row_losses as reference


@pytest.mark.parametrize("width", [1, 50, 4096, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_derivatives_are_the_references(width: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    wide = (20 * torch.randn(3, width + 5, generator=draw)).to(dtype)
    z, target = wide[:, :width], torch.tensor([0, width // 2, width - 1])
    mine, want, third = torch.empty(3, 3)
    row_losses_triton.losses(z, target, mine)
    reference.losses(z, target, want)
    torch.testing.assert_close(mine, want, rtol=2e-6, atol=1e-5)
    by_kernel, exact = z.float().contiguous(), z.float().contiguous()
    row_losses_triton.slopes_(by_kernel, target, third)
    reference.slopes_(exact, target, None)
    assert torch.equal(third, mine)
    torch.testing.assert_close(by_kernel, exact, rtol=1e-5, atol=1e-7)
    again = z.float().contiguous()
    row_losses_triton.slopes_(again, target, None)
    assert torch.equal(again, by_kernel)


def test_numbers_that_are_none_are_seen_and_stay_in_their_row() -> None:
    z, losses = torch.randn(3, 5_000, generator=torch.Generator().manual_seed(0)), torch.empty(3)
    z[1, 4_500], z[2, 10] = float("nan"), float("-inf")
    row_losses_triton.losses(z, torch.tensor([0, 0, 0]), losses)
    assert losses.isfinite().tolist() == [True, False, True], "a logit of minus infinity has probability 0"


def test_the_trial_passes() -> None:
    assert row_losses.right(row_losses_triton, torch.device("cpu"))


@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile(capability: int) -> None:
    types = {"logits": "*fp32", "targets": "*i64", "losses": "*fp32", "slopes": "*fp32", "stride": "i32", "width": "i32"}
    constants = {"SLOPE": True, "LOSS": True, "WIDE": 4096}
    module = "interp_tui_engine.samplers.target.row_losses_triton"
    code = compiled(module, "_rows", types, constants, ["logits", "slopes", "stride", "width"], capability)
    assert code.stack == 0 and code.instructions["ld.global.v4.b32"] and code.instructions["st.global.v4.b32"]
