"""ActivationCache: the seed's own names, ragged batches equal to single texts, and only what is asked for is read."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.cache import ActivationCache
from references.tiny_families import some_ids, tiny_family


@pytest.fixture(scope="module")
def cache():
    return ActivationCache(load_model("builtin:tiny", device="cpu"))


def test_one_text_has_no_batch_axis(cache):
    seen = cache.run("The capital of France is")
    assert seen.residual_stream(layer=2).shape == (5, 128)
    assert seen.attention_pattern(layer=1, head=3).shape == (5, 5)
    assert seen.attention_pattern(layer=1).shape == (8, 5, 5)
    torch.testing.assert_close(seen.attention_pattern(1).sum(-1), torch.ones(8, 5))
    torch.testing.assert_close(seen["L1.resid_pre"] + seen.attention(1) + seen.mlp(1), seen.residual_stream(1))
    assert torch.equal(seen["L1.z.H3@-1"], seen["L1.z"][-1, 3])


def test_ragged_texts_equal_each_by_itself(cache):
    texts = ["The capital of France is", "Water is", "A noble gas that is"]
    seen = cache.run(texts)
    assert seen.mask.sum(1).tolist() == list(seen.lengths)
    for site in ("L3.resid_post", "L2.mlp_post", "L1.k"):
        for row, text in enumerate(texts):
            torch.testing.assert_close(seen[site][row, : seen.lengths[row]], cache.run(text)[site], atol=2e-5, rtol=1e-5)
    last = torch.stack([cache.run(text)["L3.resid_post@-1"] for text in texts])
    torch.testing.assert_close(seen["L3.resid_post@-1"], last, atol=2e-5, rtol=1e-5)


def test_nothing_is_read_that_is_not_asked_for(cache):
    seen = cache.run("The capital of France is", sites=["L1.mlp_out"])
    assert {str(site) for site in seen._held} == {"L0.mlp_out", "L1.mlp_out"}
    runs = []
    handle = cache._module.model.layers[2].register_forward_hook(lambda *_: runs.append(1))
    seen.mlp(0)
    assert not runs
    handle.remove()


def test_token_ids_and_a_plain_module_will_do():
    module = tiny_family("gpt2")
    ids = some_ids(2, 6)
    seen = ActivationCache(module).run(ids)
    assert torch.equal(seen["L1.resid_post"], ActivationCache(module).run([row.tolist() for row in ids])["L1.resid_post"])
    assert ActivationCache(module).run(ids[0])["embed"].shape == (6, 32)
    assert torch.equal(ActivationCache(module).run(ids[0].tolist())["embed"], ActivationCache(module).run(ids[0])["embed"])


def test_a_position_that_some_text_lacks_is_refused(cache):
    seen = cache.run(["The capital of France is", "Water is"])
    with pytest.raises(UserError, match="the shortest text has tokens 0 to"):
        seen["L1.resid_post@4"]


@pytest.mark.parametrize(
    "inputs, said",
    [
        ([], "nothing to run"),
        ([[]], "is empty"),
        ("x", "no tokenizer"),
        ([list(range(2, 60))], "at most 32"),
        ([[3, 64]], "no token 64"),
        ([3, -1], "no token -1"),
    ],
)
def test_inputs_that_cannot_be_run(inputs, said):
    with pytest.raises(UserError, match=said):
        ActivationCache(tiny_family("llama")).run(inputs)
