"""Steering: along a known direction it does what it says and nothing across it; continuations equal full passes token by token."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.models.load import load_model
from interp_tui_engine.probes.steering import Steering, continuation
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import edited
from interp_tui_engine.sites.site import Site

PLACE = Site("resid_post", 2)


def unit(width, seed=0):
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


@pytest.mark.parametrize(
    "verb, expected", [("add", lambda along: along + 1.5), ("ablate", lambda along: 0 * along), ("clamp", lambda along: 0 * along + 1.5)]
)
@pytest.mark.parametrize("shape", [(2, 5, 12), (2, 5, 3, 4)], ids=["stream", "heads"])
def test_only_what_lies_along_the_direction_changes(verb, expected, shape):
    value, direction = torch.randn(*shape, generator=torch.Generator().manual_seed(1)), unit(12)
    changed = Steering(PLACE, direction, verb, 1.5).change(value)
    assert changed.shape == value.shape
    before, after = value.flatten(2), changed.flatten(2)
    torch.testing.assert_close(after @ direction, expected(before @ direction), atol=1e-5, rtol=1e-5)
    across = torch.eye(12) - torch.outer(direction, direction)
    torch.testing.assert_close(after @ across, before @ across, atol=1e-5, rtol=1e-5)


def test_of_a_head_only_that_head_changes():
    value, direction = torch.randn(2, 5, 3, 4), unit(4)
    changed = Steering(Site("z", 1, 2), direction, "ablate").change(value)
    assert torch.equal(changed[:, :, :2], value[:, :, :2])
    torch.testing.assert_close(changed[:, :, 2] @ direction, torch.zeros(2, 5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("verb", ["add", "ablate", "clamp"])
def test_a_continuation_with_cached_keys_is_that_of_full_passes(verb):
    model = load_model("builtin:tiny", device="cpu")
    site_map = site_map_of(model)
    ids = torch.tensor([model.tokenizer("The capital of France is").input_ids])
    steering = Steering(PLACE, unit(128, 3), verb, 30.0)
    found = continuation(model.module, site_map, ids, 6, steering, end=None)
    row = ids
    with torch.no_grad(), edited(site_map, [steering.edit]):
        torch.testing.assert_close(found.logits, model.module(ids).logits[0, -1], atol=1e-4, rtol=1e-4)
        for _ in range(6):
            row = torch.cat([row, model.module(row).logits[:, -1:].argmax(-1)], dim=1)
    assert found.ids == row[0, ids.shape[1] :].tolist()


def test_it_ends_with_the_text_and_with_the_context():
    model = load_model("builtin:tiny", device="cpu")
    site_map = site_map_of(model)
    ids = torch.tensor([model.tokenizer("The capital of France is").input_ids])
    free = continuation(model.module, site_map, ids, 4, None, end=None).ids
    assert len(free) == 4 and continuation(model.module, site_map, ids, 4, None, end=free[2]).ids == free[: free.index(free[2])]
    full = torch.full((1, site_map.context - 2), 5)
    assert len(continuation(model.module, site_map, full, 4, None, end=None).ids) == 2
