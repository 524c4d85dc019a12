"""Sites of every family: they add up, unembed to the model's logits, change nothing when written back, and carry the whole stream."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_tui_engine.errors import UserError
from interp_tui_engine.sites import hooks
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, capture, edited
from interp_tui_engine.sites.site import HEADED, NAMES, Site, parse
from interp_tui_engine.sites.verify import checked_site_map
from references.tiny_families import FAMILIES, PARALLEL, shows_patterns, some_ids, tiny_family

EPS = torch.finfo(torch.float32).eps
families = pytest.mark.parametrize("family", sorted(FAMILIES))


def all_sites(site_map):
    return [Site("embed"), *(Site(name, layer) for layer, block in enumerate(site_map.blocks) for name in block.ports)]


def close(left, right, terms=3):
    """Equal up to a rounding of each term and of each partial sum."""
    return bool((left - right).abs().max() <= 4 * terms * EPS * max(left.abs().max(), right.abs().max()))


@families
@torch.no_grad()
def test_sites_add_up_and_unembed_to_the_logits(family):
    module, ids = tiny_family(family), some_ids(2, 9)
    site_map = checked_site_map(module)
    with capture(site_map, all_sites(site_map)) as seen:
        logits = module(ids).logits
    scale = site_map.residual_scale
    for layer, block in enumerate(site_map.blocks):
        at = {name: seen[Site(name, layer)] for name in block.ports}
        assert close(at["resid_pre"] + scale * at["attn_out"] + scale * at["mlp_out"], at["resid_post"])
        assert ("resid_mid" in at) == (family not in PARALLEL)
        if "resid_mid" in at:
            assert close(at["resid_pre"] + scale * at["attn_out"], at["resid_mid"])
        assert ("attn_pattern" in at) == shows_patterns(family)
        if "attn_pattern" in at:
            values = at["v"].repeat_interleave(site_map.num_heads // site_map.num_kv_heads, dim=2)
            assert close(torch.einsum("bhqk,bkhd->bqhd", at["attn_pattern"], values), at["z"], terms=9)
        if layer + 1 < site_map.num_layers:
            assert torch.equal(at["resid_post"], seen[Site("resid_pre", layer + 1)])
    assert torch.equal(site_map.unembed(seen[Site("resid_post", site_map.num_layers - 1)]), logits)


def hooks_in(module: torch.nn.Module) -> list[int]:
    return [hook for m in module.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)]


@families
@torch.no_grad()
def test_writing_back_what_was_read_changes_no_bit_and_no_hook_stays(family):
    module, ids = tiny_family(family), some_ids(2, 7)
    site_map = site_map_of(module)
    plain, implementation = module(ids).logits, module.config._attn_implementation
    before = hooks_in(module)  # transformers leaves hooks of its own in a model that was once asked for all its hidden states
    for site in all_sites(site_map):
        with capture(site_map, [site]) as seen:
            same = module(ids).logits
        with edited(site_map, [Edit(site, lambda value, site=site, seen=seen: seen[site].clone())]):
            assert torch.equal(module(ids).logits, same), site
    assert torch.equal(module(ids).logits, plain) and module.config._attn_implementation == implementation and not hooks._TAPS
    assert hooks_in(module) == before


@families
@torch.no_grad()
def test_all_of_a_layer_turns_corrupt_into_clean(family):
    module, clean, corrupt = tiny_family(family), some_ids(1, 6, 1), some_ids(1, 6, 2)
    site_map = site_map_of(module)
    wanted = module(clean).logits
    for layer in range(site_map.num_layers):
        for names in (["resid_pre"], ["resid_post"], ["resid_mid"], ["resid_pre", "attn_out", "mlp_out"]):
            if names[0] not in site_map.blocks[0].ports:
                continue
            sites = [Site(name, layer) for name in names]
            seen = activations(site_map, clean, sites)
            with edited(site_map, [Edit(site, lambda value, new=seen[site]: new) for site in sites]):
                assert torch.equal(module(corrupt).logits, wanted), (layer, names)


@families
@torch.no_grad()
def test_every_site_reaches_the_logits(family):
    """A site that is written but not read by the model would pass all identities above."""
    module, ids = tiny_family(family), some_ids(1, 6)
    site_map = site_map_of(module)
    plain = module(ids).logits
    for site in all_sites(site_map):
        with edited(site_map, [Edit(site, lambda value: value.flip(-1))]):
            assert not torch.allclose(module(ids).logits, plain, atol=1e-4), site


@torch.no_grad()
def test_activations_stop_early_and_equal_a_full_pass():
    module, ids = tiny_family("llama"), some_ids(2, 5)
    site_map = site_map_of(module)
    ran = []
    handle = module.model.layers[2].register_forward_hook(lambda *_: ran.append(1))
    sites = [Site("mlp_out", 1), Site("z", 1, head=3), Site("resid_pre", 0, position=-1), Site("attn_pattern", 0, head=1, position=2)]
    seen = activations(site_map, ids, sites)
    assert not ran
    handle.remove()
    with capture(site_map, [site.whole for site in sites]) as whole:
        module(ids)
    assert torch.equal(seen[sites[0]], whole[sites[0]])
    assert torch.equal(seen[sites[1]], whole[Site("z", 1)][:, :, 3])
    assert torch.equal(seen[sites[2]], whole[Site("resid_pre", 0)][:, -1])
    assert torch.equal(seen[sites[3]], whole[Site("attn_pattern", 0)][:, 1, 2])


@pytest.mark.parametrize("site", [Site("attn_out", 0), Site("mlp_out", 1), Site("z", 1), Site("resid_mid", 0), Site("v", 2)])
def test_a_gradient_at_a_site_predicts_what_a_small_step_there_does(site):
    module, ids = tiny_family("gemma2"), some_ids(1, 5)
    site_map = site_map_of(module)
    leaf = torch.zeros_like(activations(site_map, ids, [site])[site]).requires_grad_(True)
    with edited(site_map, [Edit(site, lambda value: value + leaf)]):
        (gradient,) = torch.autograd.grad(module(ids).logits[0, -1, 3], leaf)
    step = 1e-3 * gradient.sign()
    with torch.no_grad(), edited(site_map, [Edit(site, lambda value: value + step)]):
        up = module(ids).logits[0, -1, 3]
    with torch.no_grad(), edited(site_map, [Edit(site, lambda value: value - step)]):
        down = module(ids).logits[0, -1, 3]
    predicted = (gradient * step).sum()
    # central difference: third-order terms of the step, and the rounding of two logits of order 1
    assert predicted > 1e-4 and abs((up - down) / 2 - predicted) < 0.01 * predicted.abs() + 1e-6


def test_padding_on_the_right_does_not_reach_real_tokens():
    for family in ("llama", "gpt2", "bloom", "gemma3_text"):
        module = tiny_family(family)
        site_map = site_map_of(module)
        ids = some_ids(2, 8)
        ids[1, 5:] = 0
        site = Site("resid_post", 2)
        alone = activations(site_map, ids[1:, :5], [site])[site]
        together = activations(site_map, ids, [site])[site]
        torch.testing.assert_close(together[1, :5], alone[0], atol=1e-5, rtol=1e-5)


@given(st.sampled_from(NAMES), st.integers(0, 99), st.none() | st.integers(0, 40), st.none() | st.integers(-9, 99))
def test_a_site_reads_back_from_its_text(name, layer, head, position):
    site = Site(name, None if name == "embed" else layer, head if name in HEADED else None, position)
    assert parse(str(site)) == site


@pytest.mark.parametrize(
    "text, site",
    [
        ("L3H5", Site("z", 3, 5)),
        ("L6", Site("resid_post", 6)),
        ("L2.mlp", Site("mlp_out", 2)),
        ("heads", Site("z")),
        ("embed@-1", Site("embed", position=-1)),
    ],
)
def test_short_forms(text, site):
    assert parse(text) == site


@pytest.mark.parametrize(
    "text, said",
    [
        ("resid_pots", "did you mean 'resid_post'"),
        ("L1.mlp_out.H2", "has no heads"),
        ("", "is no site"),
        ("L2 L3", "is no site"),
        ("L1.embed", "has no layers"),
    ],
)
def test_what_is_no_site_says_what_is(text, said):
    with pytest.raises(UserError, match=said):
        parse(text)


def test_a_site_the_model_lacks_says_which_it_has():
    site_map = site_map_of(tiny_family("qwen3"))
    for site, said in [
        (Site("resid_post", 3), "layers 0 to 2"),
        (Site("z", 0, 4), "heads 0 to 3"),
        (Site("k", 0, 2), "heads 0 to 1"),
        (Site("z"), "names no layer"),
    ]:
        with pytest.raises(UserError, match=said):
            site_map.check(site)
    with pytest.raises(UserError, match="in parallel"):
        site_map_of(tiny_family("cohere")).check(Site("resid_mid", 0))
    with pytest.raises(UserError, match="cannot be reached in mixtral"):
        site_map_of(tiny_family("mixtral")).check(Site("mlp_post", 0))


def test_a_block_that_does_not_add_up_is_refused(monkeypatch):
    module = tiny_family("llama")
    site_map = site_map_of(module)
    monkeypatch.setitem(site_map.blocks[0].ports, "attn_out", site_map.blocks[0].ports["mlp_out"])
    with pytest.raises(UserError, match="do not add up"):
        checked_site_map(module)
