"""Causal tracing: the fast grid equals one forward pass a patch, metrics equal their definitions, and what cannot be traced is said."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.patching.recovery import GridCell, TracePrompts, batches, grid, prepare, recovery
from interp_tui_engine.sites.answers import METRICS, Answer, entropy, kl, log_prob, rank, set_logit
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site
from references.patch_loop import patched_logits
from references.tiny_families import some_ids, tiny_family

LENGTH, FIRST = 7, 2
ANSWER = Answer((5,), (9,))


def prompts(**changes) -> TracePrompts:
    clean, corrupt = some_ids(1, LENGTH, 1)[0].tolist(), some_ids(1, LENGTH, 2)[0].tolist()
    corrupt[:FIRST] = clean[:FIRST]
    return TracePrompts(**{"clean": tuple(clean), "corrupt": tuple(corrupt), "answer": ANSWER, "first": FIRST, **changes})


def made(family="llama", names=("resid_post",), metric="logit_diff", *, given=None, window=1, freeze=()):
    return prepare(site_map_of(tiny_family(family)), given or prompts(), names, metric, window=window, freeze=freeze)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "qwen3"])
@torch.no_grad()
def test_the_grid_equals_one_forward_pass_a_cell(family):
    trace = made(family, ("resid_post", "attn_out", "mlp_out", "mlp_post", "z"))
    kinds = grid(trace.site_map, trace.prompts, ("resid_post", "attn_out", "mlp_out", "mlp_post"), heads=True)
    cells = [cell for kind in kinds for cell in kind]
    assert [cell for batch in batches(kinds, 5) for cell in batch] == cells and {len(batch) for batch in batches(kinds, 5)} <= set(
        range(1, 6)
    )
    assert all(len({cell.name for cell in batch}) == 1 for batch in batches(kinds, 5))
    assert len(cells) == 3 * (LENGTH - FIRST) * (4 + 4)
    clean, corrupt = (torch.tensor([ids]) for ids in (trace.prompts.clean, trace.prompts.corrupt))
    jobs = [[Site(cell.name, cell.layer, cell.head, cell.position)] for cell in cells]
    logits = patched_logits(tiny_family(family), clean, corrupt, jobs)[:, -1]
    torch.testing.assert_close(trace.patched(cells), logits[:, 5] - logits[:, 9], atol=1e-4, rtol=0)
    found = [recovery(value, trace.clean_metric, trace.corrupt_metric) for value in trace.patched(cells).tolist()]
    last = cells.index(GridCell("resid_post", 2, LENGTH - 1))
    assert found[last] == pytest.approx(1.0, abs=1e-5), "the last position of the last layer is all that is unembedded"


@pytest.mark.parametrize("threads", [1, 2])
@torch.no_grad()
def test_a_grid_is_the_same_whatever_travels_together(threads):
    trace = made(names=("resid_post", "mlp_out", "z"))
    kinds = grid(trace.site_map, trace.prompts, ("resid_post", "mlp_out"), heads=True)
    before, cells = torch.get_num_threads(), [cell for kind in kinds for cell in kind]
    whole = trace.patched(cells)
    try:
        torch.set_num_threads(threads)
        for rows in (1, 4, 7):
            parts = torch.cat([trace.patched(batch) for batch in batches(kinds, rows)])
            torch.testing.assert_close(parts, whole, atol=2e-6, rtol=0)
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def test_positions_before_the_corruption_recover_exactly_nothing():
    trace = made()
    cells = [GridCell("resid_post", layer, position) for layer in range(3) for position in range(FIRST)]
    assert set(trace.patched(cells).tolist()) == {trace.corrupt_metric}


@torch.no_grad()
def test_a_window_patches_all_its_layers_and_is_cut_at_the_ends():
    trace = made(names=("mlp_out",), window=3)
    clean, corrupt = (torch.tensor([ids]) for ids in (trace.prompts.clean, trace.prompts.corrupt))
    cells = [GridCell("mlp_out", layer, 4) for layer in range(3)]
    jobs = [[Site("mlp_out", inner, None, 4) for inner in layers] for layers in ([0, 1], [0, 1, 2], [1, 2])]
    logits = patched_logits(tiny_family("llama"), clean, corrupt, jobs)[:, -1]
    torch.testing.assert_close(trace.patched(cells), logits[:, 5] - logits[:, 9], atol=1e-4, rtol=0)


def test_even_windows_reach_one_further_back_as_those_of_meng_et_al():
    trace = dataclasses.replace(made(window=10), site_map=SimpleNamespace(num_layers=24))
    assert list(trace.layers(12)) == list(range(7, 17)), "l − 5 … l + 4"
    assert list(trace.layers(2)) == list(range(0, 7)) and list(trace.layers(22)) == list(range(17, 24))
    for width, layers in ((1, [12]), (2, [11, 12]), (3, [11, 12, 13]), (5, [10, 11, 12, 13, 14])):
        assert list(dataclasses.replace(trace, window=width).layers(12)) == layers


@torch.no_grad()
def test_freezing_holds_later_sites_at_the_corrupt_run():
    module = tiny_family("llama")
    trace = made(names=("resid_post",), freeze=("mlp_out",))
    clean, corrupt = (torch.tensor([ids]) for ids in (trace.prompts.clean, trace.prompts.corrupt))
    site_map = site_map_of(module)
    for layer in (0, 2):
        value = activations(site_map, clean, [Site("resid_post", layer)])[Site("resid_post", layer)]
        held = activations(site_map, corrupt, [Site("mlp_out", later) for later in range(layer + 1, 3)])

        def put(now, value=value):
            now = now.clone()
            now[:, 4] = value[:, 4]
            return now

        edits = [Edit(Site("resid_post", layer), put), *(Edit(site, lambda _, kept=kept: kept) for site, kept in held.items())]
        with edited(site_map, edits):
            logits = module(corrupt).logits[0, -1]
        assert float(trace.patched([GridCell("resid_post", layer, 4)])) == pytest.approx(float(logits[5] - logits[9]), abs=1e-4)


@torch.no_grad()
def test_noise_corrupts_the_clean_prompt_from_its_first_noised_token():
    clean = prompts().clean
    noise = torch.zeros(LENGTH, 32)
    noise[3] = torch.randn(32, generator=torch.Generator().manual_seed(0))
    trace = made(given=prompts(corrupt=clean, first=3, noise=noise), names=("resid_pre",))
    assert trace.clean_metric != trace.corrupt_metric
    restored = trace.patched([GridCell("resid_pre", 0, 3)])
    assert float(restored) == pytest.approx(trace.clean_metric, abs=1e-5), "its embedding is all that was corrupted"


@torch.no_grad()
def test_an_answer_of_several_tokens_is_scored_as_a_whole():
    tokens = (5, 9, 11)
    base = prompts()
    extended = prompts(clean=base.clean + tokens[:-1], corrupt=base.corrupt + tokens[:-1], answer=Answer(tokens), sequence=True)
    trace = made(metric="logprob", given=extended)
    module = tiny_family("llama")
    for ids, found in ((extended.clean, trace.clean_metric), (extended.corrupt, trace.corrupt_metric)):
        log_p = module(torch.tensor([ids])).logits[0].log_softmax(-1)
        assert found == pytest.approx(float(sum(log_p[LENGTH - 1 + i, token] for i, token in enumerate(tokens))), abs=1e-4)
    assert max(cell.position for cell in grid(trace.site_map, trace.prompts, ("resid_post",), heads=False)[0]) == LENGTH - 1


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_1_where_all_is_restored(metric):
    trace = made(metric=metric)
    if trace.clean_metric == trace.corrupt_metric:
        assert metric == "rank"
        return
    value = float(trace.patched([GridCell("resid_post", 2, LENGTH - 1)]))
    assert recovery(value, trace.clean_metric, trace.corrupt_metric) == pytest.approx(1.0, abs=1e-4)


def test_metrics_are_what_they_are_called():
    logits = torch.tensor([0.5, 2.0, -1.0, 2.0])
    p = logits.double().softmax(-1)
    assert float(log_prob(logits, [0, 2]).exp()) == pytest.approx(float(p[0] + p[2]), rel=1e-6)
    assert [int(rank(logits, [token])) for token in range(4)] == [2, 0, 3, 0]
    assert int(rank(logits, [2, 0])) == 2
    assert float(entropy(logits)) == pytest.approx(float(-(p * p.log()).sum()), rel=1e-6)
    other = torch.tensor([0.0, 1.0, 0.0, 3.0])
    q = other.double().softmax(-1)
    assert float(kl(logits, other)) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert float(set_logit(logits, [1])) == 2.0


def test_nothing_to_recover_is_an_error_and_not_a_zero():
    with pytest.raises(UserError, match="nothing to recover"):
        recovery(1.0, 2.0, 2.0 + 1e-9)
