"""The flat vector: layout, views, masks, precision."""

from __future__ import annotations

import pytest
import torch
from sampler_models import SERIAL, config, run, tiny_lm, token_rows
from torch import nn

from interp_tui_engine.errors import UserError
from interp_tui_engine.samplers.noise import BLOCK
from interp_tui_engine.samplers.target.parameters import ChainWeights, ParameterSpace, named_parameters
from interp_tui_engine.samplers.target.problem import ModuleTarget


def parameters() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = {"big": (300, 500), "a": (3,), "b": (5, 7), "c": (16,), "bigger": (BLOCK * 2 + 5,)}
    return {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}


def test_every_parameter_is_an_aligned_view_of_the_vector():
    space = ParameterSpace(parameters(), None)
    anchor = space.anchor()
    for name, view in space.views(anchor).items():
        assert torch.equal(view, parameters()[name])
        assert (view.data_ptr() - anchor.data_ptr()) % 64 == 0
    assert space.numel == sum(p.numel() for p in parameters().values())
    covered = torch.zeros(space.size)
    for block in space.blocks:
        covered[block.start : block.stop] += 1 if block.mask is None else block.mask
        assert block.stop - block.start <= BLOCK
    for slot in space.slots:
        assert (covered[slot.start : slot.stop] == 1).all()
    assert covered.sum() == space.numel, "gaps between parameters must not move"


def test_gradients_reach_their_blocks_and_accumulate():
    space = ParameterSpace(parameters(), None)
    weights = ChainWeights(space)
    for _ in range(2):
        weights.zero_gradients()
        for _ in range(2):
            sum((leaf * leaf).sum() for name, leaf in weights.leaves.items() if name != "bigger").backward()
    flat = torch.full((space.size,), torch.nan)
    for block, gradient in weights.gradients():
        flat[block.start : block.stop] = gradient
    for name, view in space.views(flat).items():
        want = torch.zeros_like(view) if name == "bigger" else 4 * parameters()[name]
        torch.testing.assert_close(view, want)


def test_masks_choose_parameters_and_elements():
    mask = torch.zeros(5, 7)
    mask[2] = 1
    space = ParameterSpace(parameters(), {"b": mask, "big": None})
    assert [s.name for s in space.slots] == ["b", "big"] and space.numel == 7 + 150_000
    flat = torch.cat([torch.ones(b.stop - b.start) if b.mask is None else b.mask for b in space.blocks])
    assert torch.equal(space.views(flat)["b"], mask)


def test_masks_that_make_no_sense_are_the_users_errors():
    with pytest.raises(UserError, match="'x', which is no parameter"):
        ParameterSpace(parameters(), {"x": None})
    with pytest.raises(UserError, match="has shape"):
        ParameterSpace(parameters(), {"a": torch.ones(4)})
    with pytest.raises(UserError, match="selects no parameter"):
        ParameterSpace(parameters(), {"a": torch.zeros(3)})


def test_tied_parameters_are_sampled_once_and_either_name_selects_them():
    model = tiny_lm()
    model.out.weight = model.embed.weight
    unique, _ = named_parameters(model, None)
    assert "out.weight" not in unique and "embed.weight" in unique
    _, masks = named_parameters(model, {"out.weight": None})
    assert masks == {"embed.weight": None}
    half, other = torch.zeros(24, 12), torch.zeros(24, 12)
    half[:3], other[2:5] = 1, 1
    _, masks = named_parameters(model, {"out.weight": half, "embed.weight": other})
    assert masks["embed.weight"].sum() == 5 * 12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_models_keep_a_float32_master(dtype):
    """Steps far below the model's own resolution must still add up."""
    model = tiny_lm().to(dtype)
    rows = token_rows()
    p = ModuleTarget(model, rows, {"o": (rows, 1)}, 4)
    assert p.space.anchor().dtype == torch.float32
    weights = ChainWeights(p.space)
    for _ in range(1000):
        for block in p.space.blocks:
            weights.flat[block.start : block.stop] += 1e-5
            weights.publish(block)
    torch.testing.assert_close(weights.flat - p.space.anchor(), torch.full_like(weights.flat, 1e-2), rtol=0.01, atol=1e-5)
    assert float((weights.leaves["out.bias"].float() - model.out.bias.float()).mean()) == pytest.approx(1e-2, rel=0.1)
    low = run(p, config(num_chains=1), executor=SERIAL).snapshot.trace
    full = run(ModuleTarget(tiny_lm(), rows, {}, 4), config(num_chains=1), executor=SERIAL).snapshot.trace
    assert abs(low - full).max() < 32 * torch.finfo(dtype).eps


def test_integer_parameters_cannot_be_sampled():
    with pytest.raises(UserError, match="cannot be sampled"):
        ParameterSpace({"n": nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)}, None)
