"""The tuned lens: before training the logit lens; fitted, it finds a map that is there; saved, restored and held out as it should be."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.lenses import tuned_lens
from interp_tui_engine.lenses.logit_lens import streams
from interp_tui_engine.models import halving
from interp_tui_engine.sites.answers import kl
from interp_tui_engine.sites.dissect import site_map_of
from references.tiny_families import some_ids, tiny_family


@pytest.fixture(scope="module")
def site_map():
    return site_map_of(tiny_family("llama"))


def means(site_map, lens, parts):
    """Mean KL over all tokens by layer, (2, layers): token by token, by the logit lens and by the tuned one."""
    each = torch.cat([tuned_lens.divergences_by_row(site_map, lens, [part], 1) for part in parts], dim=-1)
    return each.mean(-1).float()


def test_before_training_it_is_the_logit_lens(site_map):
    stream = streams(site_map, some_ids(2, 6))
    assert stream.shape == (3, 12, 32)
    lens = tuned_lens.identity(3, 32)
    assert all(torch.equal(lens(layer, stream[layer]), stream[layer]) for layer in range(3)) and lens.identity_layers == [0, 1]
    logit, tuned = means(site_map, lens, [stream])
    spelt = [kl(site_map.unembed(stream[-1]), site_map.unembed(stream[layer])).mean() for layer in range(3)]
    torch.testing.assert_close(logit, torch.stack(spelt), atol=1e-5, rtol=1e-5)
    assert torch.equal(logit, tuned) and float(logit[-1]) < 1e-6


def test_it_finds_the_map_that_is_there(site_map):
    """Streams of which the first is an affine image of the last: the least KL is 0, and only the inverse map reaches it."""
    draw = torch.Generator().manual_seed(0)
    end = torch.randn(512, 32, generator=draw)
    mix = torch.eye(32) + 0.3 * torch.randn(32, 32, generator=draw) / 32**0.5
    first = (end - 0.5) @ mix.T
    fitting = tuned_lens.Fitting(site_map, lr=1e-2, steps=300)
    losses = []
    for step in range(300):
        chosen = tuned_lens.rows_of(7, step, 512, 64)
        losses.append(fitting.update(torch.stack([first, torch.zeros_like(end), end])[:, chosen])[0])
    held = torch.randn(64, 32, generator=draw)
    logit, tuned = means(site_map, fitting.lens, [torch.stack([(held - 0.5) @ mix.T, torch.zeros_like(held), held])])
    assert losses[0] > 0.1 and float(tuned[0]) < 0.02 * float(logit[0])


def test_a_layer_that_fitting_made_worse_is_put_back():
    lens = tuned_lens.TunedLens((torch.ones(4, 4), torch.ones(4, 4)), (torch.ones(4), torch.ones(4)))
    kept = tuned_lens.no_worse(lens, torch.tensor([[1.0, 2.0, 0.0], [1.5, 1.9, 0.0]]))
    assert kept.identity_layers == [0] and torch.equal(kept.weight[1], lens.weight[1])


def test_fitting_goes_on_from_its_state_bit_for_bit(site_map):
    stream = streams(site_map, some_ids(4, 6))
    whole, begun = (tuned_lens.Fitting(site_map, lr=1e-2, steps=6) for _ in range(2))
    for fitting, steps in ((whole, 6), (begun, 3)):
        for _ in range(steps):
            fitting.update(stream)
    again = tuned_lens.Fitting(site_map, lr=1e-2, steps=6)
    again.restore(begun.state())
    for _ in range(3):
        again.update(stream)
    for a, b in zip(again.lens.weight + again.lens.bias, whole.lens.weight + whole.lens.bias, strict=True):
        assert torch.equal(a, b) and bool(a.any())


def test_a_fit_and_its_measure_take_few_tokens_at_a_time(site_map, monkeypatch):
    """Three of ten tokens at once: the same losses, maps and divergences to rounding."""
    results = []
    for room in (halving.ON_A_CPU, 3 * 16 * site_map.head.out_features):
        monkeypatch.setattr(halving, "ON_A_CPU", room)
        fitting = tuned_lens.Fitting(site_map, lr=1e-2, steps=6)
        losses = [fitting.update(streams(site_map, some_ids(2, 5))) for _ in range(3)]
        results.append([torch.tensor(losses), *fitting.lens.weight, *means(site_map, fitting.lens, [streams(site_map, some_ids(2, 5))])])
    for mine, want in zip(*results, strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-3, atol=1e-6)


def test_a_saved_lens_comes_back_and_others_are_refused(site_map, tmp_path):
    draw = torch.Generator().manual_seed(1)
    maps = [tuple(torch.randn(shape, generator=draw) for _ in range(2)) for shape in ((32, 32), (32,))]
    lens = tuned_lens.TunedLens(*maps, {"model": "tiny"})
    lens.save(tmp_path / "lens.safetensors")
    again = tuned_lens.load(tmp_path / "lens.safetensors", site_map)
    assert all(torch.equal(a, b) for a, b in zip(again.weight + again.bias, lens.weight + lens.bias, strict=True))
    assert again.made_for["model"] == "tiny"
    tuned_lens.identity(4, 16).save(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="4 layers of width 16, and the model has 3 of width 32"):
        tuned_lens.load(tmp_path / "other.safetensors", site_map)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="cannot read a tuned lens"):
        tuned_lens.load(tmp_path / "text", site_map)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="no tuned lens of this program"):
        tuned_lens.load(tmp_path / "foreign.safetensors", site_map)


def test_held_out_rows_are_blocks_across_the_text():
    for rows, share in ((300, 0.1), (60, 0.1), (2, 0.1), (7, 0.9), (1000, 0.25)):
        fitted, apart = tuned_lens.held_out_rows(rows, share)
        assert sorted(fitted + apart) == list(range(rows)) and fitted and apart
    fitted, apart = tuned_lens.held_out_rows(300, 0.1)
    assert len(apart) == 30 and all(7 <= sum(low <= row < low + 100 for row in apart) <= 12 for low in (0, 100, 200))
    assert sum(after > before + 1 for before, after in itertools.pairwise(apart)) == 7, "eight blocks of neighbours"


def test_rows_add_up_to_the_mean(site_map):
    draw = torch.Generator().manual_seed(0)
    lens = tuned_lens.TunedLens(tuple(0.1 * torch.randn(2, 32, 32, generator=draw)), tuple(torch.zeros(2, 32)))
    parts = [streams(site_map, some_ids(2, 6)), streams(site_map, some_ids(3, 6, 1))]
    by_row = tuned_lens.divergences_by_row(site_map, lens, parts, 6)
    assert by_row.shape == (2, 3, 5)
    torch.testing.assert_close(by_row.mean(-1).float(), means(site_map, lens, parts), atol=1e-6, rtol=1e-5)
    ids = torch.cat([some_ids(2, 6), some_ids(3, 6, 1)])
    torch.testing.assert_close(tuned_lens.measured(site_map, lens, ids, 2), by_row, atol=1e-6, rtol=1e-5)


def test_a_lens_is_fitted_in_float32_to_a_model_in_bfloat16():
    half = site_map_of(copy.deepcopy(tiny_family("llama")).to(torch.bfloat16))
    fitting = tuned_lens.Fitting(half, lr=1e-2, steps=30)
    losses = [fitting.update(streams(half, some_ids(4, 6))) for _ in range(30)]
    assert sum(losses[-1]) < sum(losses[0]) and fitting.lens.weight[0].dtype == torch.float32
    assert fitting.lens(0, torch.zeros(2, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
