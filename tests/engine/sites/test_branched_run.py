"""Patched runs that branch off a base run equal one full forward pass a patch, on every family and at every kind of site."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.sites.branched_run import Patch, record
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, part
from interp_tui_engine.sites.site import Site
from references.patch_loop import patched_logits
from references.tiny_families import FAMILIES, some_ids, tiny_family

LENGTH, SAME = 8, 3
"""Tokens of a prompt, and how many of them the clean and corrupt one share at the beginning."""
NOT_SKIPPED = {"mpt"}
"""Families with a bias by distance that is made for all positions at once."""


def pair():
    clean, corrupt = some_ids(1, LENGTH, 1), some_ids(1, LENGTH, 2)
    corrupt[:, :SAME] = clean[:, :SAME]
    return clean, corrupt


def jobs_of(site_map, position):
    """A job for every kind of site in every layer, one for a head of each headed kind, one over a window of layers."""
    found = []
    for layer, block in enumerate(site_map.blocks):
        for name in block.ports:
            found.append((Site(name, layer, None, position),))
            if name in ("q", "k", "v", "z", "attn_pattern"):
                found.append((Site(name, layer, site_map.heads(name) - 1, position),))
    found.append(tuple(Site("mlp_out", layer, None, position) for layer in range(site_map.num_layers)))
    found.append((Site("resid_pre", 1, None, position), Site("attn_out", 1, None, LENGTH - 1)))
    return found


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_equals_one_forward_pass_a_patch(family):
    module = tiny_family(family)
    site_map, (clean, corrupt) = site_map_of(module), pair()
    fork = record(site_map, corrupt)
    assert fork.can_skip == (family not in NOT_SKIPPED)
    plain = module(corrupt).logits[0]
    torch.testing.assert_close(fork.logits(range(LENGTH)), plain, atol=1e-4, rtol=0)
    jobs = jobs_of(site_map, SAME) + jobs_of(site_map, LENGTH - 2)
    seen = activations(site_map, clean, list({site.whole for job in jobs for site in job}))
    patches = [tuple(Patch(site, part(site, seen[site.whole])[0]) for site in job) for job in jobs]
    found = fork.run(patches, [LENGTH - 1])
    expected = patched_logits(module, clean, corrupt, jobs)[:, -1:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (expected - plain[-1]).abs().amax(-1).gt(1e-3).float().mean() > 0.5, "patches that change nothing would prove nothing"


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_patching_a_run_with_itself_changes_nothing(family):
    """To a few roundings, as rows travel in batches of other shapes; `test_sites` holds single passes to the bit."""
    site_map, (_, corrupt) = site_map_of(tiny_family(family)), pair()
    fork = record(site_map, corrupt)
    sites = [Site(name, 1, None, position) for name in site_map.blocks[1].ports for position in (0, 5)]
    own = activations(site_map, corrupt, [site.whole for site in sites])
    found = fork.run([(Patch(site, part(site, own[site.whole])[0]),) for site in sites], [LENGTH - 1])
    untouched = fork.logits([LENGTH - 1])
    size = float(untouched.abs().max().clamp(min=1))
    torch.testing.assert_close(found, untouched.expand_as(found), atol=64 * torch.finfo(torch.float32).eps * size, rtol=0)


@torch.no_grad()
def test_noise_on_the_embedding_is_the_base_run():
    site_map, (clean, _) = site_map_of(tiny_family("llama")), pair()
    noise = torch.zeros(1, LENGTH, site_map.d_model)
    noise[:, SAME] = 1.0
    edit = Edit(Site("embed"), lambda value: value + noise)
    fork = record(site_map, clean, [edit])
    seen = activations(site_map, clean, [Site("resid_post", layer) for layer in range(3)])
    whole = [(Patch(Site("resid_post", 0, None, SAME), seen[Site("resid_post", 0)][0, SAME]),)]
    last = fork.run([*whole, (Patch(Site("embed", position=SAME), site_map.embed(clean)[0, SAME]),)], [LENGTH - 1])
    clean_logits = tiny_family("llama")(clean).logits[0, -1]
    torch.testing.assert_close(last[1, 0], clean_logits, atol=1e-5, rtol=0)
    assert (fork.logits([LENGTH - 1])[0] - clean_logits).abs().max() > 0.01


@torch.no_grad()
def test_rows_do_not_depend_on_which_others_travel_with_them():
    site_map, (clean, corrupt) = site_map_of(tiny_family("qwen3")), pair()
    fork = record(site_map, corrupt)
    sites = [Site("resid_post", layer, None, position) for layer in (2, 0, 1) for position in (SAME, LENGTH - 1)]
    seen = activations(site_map, clean, [site.whole for site in sites])
    jobs = [(Patch(site, part(site, seen[site.whole])[0]),) for site in sites]
    together = fork.run(jobs, [LENGTH - 2, LENGTH - 1][1:])
    alone = torch.cat([fork.run([job], [LENGTH - 1]) for job in jobs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
