"""Causal tracing, single patches and the lens from Python, by the seeds' own names."""

from __future__ import annotations

import pytest
import torch

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site
from interp_tui_engine.specs import DataSpec

CLEAN, CORRUPT = "The capital of France is", "The capital of Japan is"


@pytest.fixture(scope="module")
def model():
    return engine.load_model("builtin:tiny", device="cpu")


def test_a_trace_names_tokens_and_ends(model):
    seen = []
    found = engine.causal_trace(
        model, clean=CLEAN, corrupt=CORRUPT, answer=" Paris", counterfactual=" Tokyo", heads=True, on_progress=lambda *p: seen.append(p)
    )
    assert found.tokens[3] == " France" and found.corrupt_tokens[3] == " Japan"
    assert found.recovery["resid_post"].shape == (4, 5) and found.recovery["heads"].shape == (4, 5, 8)
    assert float(found.recovery["resid_post"][3, 4]) == pytest.approx(1, abs=1e-4)
    assert seen == [(88, 88)], "four kinds of site, one pass: 88 rows fit into a batch"


def test_one_patch_is_that_component_at_every_position(model):
    effect = engine.activation_patch(
        model=model, clean_input=CLEAN, corrupt_input=CORRUPT, target_token="Paris", patch_layer=1, patch_component="mlp"
    )
    tokenizer, module = model.tokenizer, model.module
    clean, corrupt = (torch.tensor([tokenizer(text).input_ids]) for text in (CLEAN, CORRUPT))
    from interp_tui_engine.sites.dissect import site_map_of

    site_map, site, paris = site_map_of(model), Site("mlp_out", 1), tokenizer(" Paris").input_ids[0]
    value = activations(site_map, clean, [site])[site]
    with torch.no_grad():
        before = float(module(corrupt).logits[0, -1, paris])
        with edited(site_map, [Edit(site, lambda _: value)]):
            after = float(module(corrupt).logits[0, -1, paris])
    assert effect.logit_diff_change == pytest.approx(after - before, abs=1e-4)
    whole = engine.activation_patch(model, CLEAN, CORRUPT, "Paris", 2, "resid", counterfactual_token="Tokyo")
    assert whole.recovery == pytest.approx(1.0, abs=1e-5)


def test_the_lens_says_where_the_answer_comes_first(model):
    found = engine.logit_lens(model, CLEAN, " Paris")
    assert found.top_token[-1] == " Paris" and found.answer_rank[found.crossover_layer] == 0
    assert engine.logit_lens(model, CLEAN).answer == " Paris"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"patch_layer": 9}, "layers 0 to 3"),
        ({"patch_component": "mpl"}, "did you mean 'mlp'"),
        ({"patch_component": "z", "head": 8}, "heads 0 to 7"),
        ({"corrupt_input": "Japan"}, "must be as many"),
        ({"position": 5}, "tokens 0 to 4"),
        ({"target_token": "Paris and Rome"}, r"is \d tokens.*long_answers = 'first' to look at ' Paris' alone$"),
        ({"long_answers": "sequence"}, "use long_answers = 'first'"),
    ],
)
def test_patches_that_cannot_be(model, changes, said):
    given = {"clean_input": CLEAN, "corrupt_input": CORRUPT, "target_token": "Paris", "patch_layer": 1, "patch_component": "mlp"}
    with pytest.raises(UserError, match=f"(?s){said}"):
        engine.activation_patch(model, **(given | changes))


def test_answers_of_several_tokens_by_the_first_or_as_a_whole(model):
    given = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " Paris and", "sites": ("resid_post",)}
    first = engine.causal_trace(model, **given, counterfactual=" Tokyo", long_answers="first")
    plain = engine.causal_trace(model, **(given | {"answer": " Paris"}), counterfactual=" Tokyo")
    assert torch.equal(first.recovery["resid_post"], plain.recovery["resid_post"])
    whole = engine.causal_trace(model, **given, metric="logprob", long_answers="sequence")
    assert whole.tokens == [*plain.tokens, " Paris"] and whole.recovery["resid_post"].shape == (4, 6)
    ids = torch.tensor([model.tokenizer(CLEAN + " Paris and").input_ids])
    logs = model.module(ids).logits[0].log_softmax(-1)
    assert whole.clean_metric == pytest.approx(float(logs[4, ids[0, 5]] + logs[5, ids[0, 6]]), abs=1e-4)
    assert engine.logit_lens(model, CLEAN, " Paris and", long_answers="first").answer == " Paris"
    with pytest.raises(UserError, match="cannot score a sequence"):
        engine.causal_trace(model, **given, counterfactual=" Tokyo", long_answers="sequence")


def test_a_tuned_lens_is_fitted_to_rows_and_read_with(model):
    rows = engine.load_rows(DataSpec(source="builtin:facts", context=24, rows=40), model.tokenizer, name="train").ids
    lens = engine.tuned_lens(model, rows, steps=20, lr=3e-3)
    plain, tuned = (engine.logit_lens(model, "The capital of France is", " Paris", tuned=one) for one in (None, lens))
    assert lens.identity_layers == [] and not torch.allclose(plain.answer_prob[:-1], tuned.answer_prob[:-1])
    assert plain.answer_prob[-1] == tuned.answer_prob[-1]
    with pytest.raises(UserError, match="at least two"):
        engine.tuned_lens(model, rows[:1])


def test_a_patch_of_one_head_names_it(model):
    with pytest.raises(UserError, match="no head is named"):
        engine.activation_patch(model, CLEAN, CORRUPT, "Paris", 2, "head")
    by_alias, by_site = (engine.activation_patch(model, CLEAN, CORRUPT, "Paris", 2, name, head=1) for name in ("head", "z"))
    assert by_alias == by_site


def test_a_lens_at_an_earlier_position_sees_what_stands_before_it(model):
    """What comes after a token does not reach it: the lens there is that of the prompt that ends there."""
    cut = engine.logit_lens(model, "The capital of")
    tokens = len(model.tokenizer("The capital of", add_special_tokens=False)["input_ids"])
    whole = engine.logit_lens(model, CLEAN, position=tokens - 1)
    assert whole.answer == cut.answer and whole.top_token == cut.top_token
    torch.testing.assert_close(whole.answer_prob, cut.answer_prob)
    last = engine.logit_lens(model, CLEAN, " Paris", position=-1)
    assert torch.equal(last.answer_prob, engine.logit_lens(model, CLEAN, " Paris").answer_prob)
    with pytest.raises(UserError, match="no position 99"):
        engine.logit_lens(model, CLEAN, position=99)


def test_answer_prob_is_the_probability_by_another_name(model):
    request = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " Paris", "sites": ("mlp_out",)}
    other, own = (engine.causal_trace(model, metric=name, **request) for name in ("answer_prob", "prob"))
    assert other.clean_metric == own.clean_metric and torch.equal(other.recovery["mlp_out"], own.recovery["mlp_out"])
