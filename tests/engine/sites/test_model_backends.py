"""Backends: a missing package says what to install; where one is installed, its sites and its logits are those of transformers."""

from __future__ import annotations

import sys

import pytest
import torch

from interp_tui_engine.api.one_pass import causal_trace
from interp_tui_engine.errors import UserError
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site
from interp_tui_engine.sites.verify import checked_site_map

BACKENDS = ("transformer_lens", "nnsight")
IDS = torch.tensor([[3, 14, 15, 92, 65, 35, 89], [7, 93, 23, 84, 62, 64, 33]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_package_is_an_error_that_says_what_to_install(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(UserError) as caught:
        load_model("builtin:tiny", device="cpu", backend=backend)
    assert f"pip install 'interp-tui[{backend.replace('_', '-')}]'" in caught.value.hint and backend in caught.value.what


def test_an_unknown_backend_is_named_with_those_there_are():
    with pytest.raises(UserError, match="there is no backend 'jax'"):
        load_model("builtin:tiny", device="cpu", backend="jax")


@pytest.mark.parametrize("backend", BACKENDS)
def test_sites_and_logits_are_those_of_transformers(backend):
    pytest.importorskip(backend, reason=f"needs {backend}, which is an extra: python -m tests.bench backends makes its environment")
    own, other = load_model("builtin:tiny", device="cpu"), load_model("builtin:tiny", device="cpu", backend=backend)
    with torch.no_grad():
        expected, found = own.module(IDS).logits, other.module(IDS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    ours, theirs = site_map_of(own), checked_site_map(other)
    sites = [Site("embed")] + [Site(name, layer) for layer in range(4) for name in ours.blocks[layer].ports]
    for site in sites:
        torch.testing.assert_close(
            activations(theirs, IDS, [site])[site], activations(ours, IDS, [site])[site], rtol=1e-4, atol=1e-4, msg=str(site)
        )
    for name in ("resid_mid", "k", "z", "mlp_out", "attn_pattern"):
        edit = Edit(Site(name, 2), lambda value: value * 0.5)
        with torch.no_grad(), edited(ours, [edit]):
            expected = own.module(IDS).logits
        with torch.no_grad(), edited(theirs, [edit]):
            found = other.module(IDS).logits
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, msg=name)
    pair = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}
    expected, found = (causal_trace(model, **pair, sites=("resid_post", "mlp_out"), heads=True).recovery for model in (own, other))
    for name, grid in expected.items():
        torch.testing.assert_close(found[name], grid, rtol=1e-3, atol=1e-3, msg=name)
