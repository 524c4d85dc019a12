"""Circuits: transformers whose weights hold a known circuit give it back, edges included; attributions agree with exact ablation."""

from __future__ import annotations

import copy

import pytest
import torch

import interp_tui_engine as engine
from interp_tui_engine.circuits.attribution import attribution, correlation, exact
from interp_tui_engine.circuits.edges import EMBED, Edge, edge_effects, edges_between
from interp_tui_engine.circuits.finder import CircuitFinder
from interp_tui_engine.circuits.nodes import Behaviour
from interp_tui_engine.circuits.prepared import Example
from interp_tui_engine.circuits.trial import Trial, stability
from interp_tui_engine.errors import UserError
from interp_tui_engine.sites.answers import Answer
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations, edited
from interp_tui_engine.sites.site import Site
from references.tiny_families import some_ids, tiny_family

HEAD = 8


def only(*heads: tuple[int, int], mlps: tuple[int, ...] = ()):
    """A llama of three layers in which these heads and MLPs alone write to the residual stream."""
    module = copy.deepcopy(tiny_family("llama"))
    with torch.no_grad():
        for layer, block in enumerate(module.model.layers):
            for head in range(4):
                if (layer, head) not in heads:
                    block.self_attn.o_proj.weight[:, HEAD * head : HEAD * (head + 1)] = 0
            if layer not in mlps:
                block.mlp.down_proj.weight.zero_()
    return module


def examples(count=2):
    found = []
    for seed in range(count):
        clean, corrupt = some_ids(1, 6, seed)[0].tolist(), some_ids(1, 6, seed + 50)[0].tolist()
        corrupt[:2] = clean[:2]
        corrupt[-1] = clean[-1]  # the answer's position reads the change through heads only
        found.append(Example(tuple(clean), tuple(corrupt), Answer((5,), (9,))))
    return found


def behaviour(module, ablation="interchange", count=2):
    return Behaviour(site_map_of(module), examples(count), "logit_diff", ablation)


@pytest.mark.parametrize("ablation", ["interchange", "mean", "zero"])
@pytest.mark.parametrize("method", ["acdc", "eap_ig", "eap_ig_activations"])
def test_the_nodes_that_write_are_the_circuit(method, ablation):
    module = only((0, 1), (1, 2), mlps=(2,))
    found = behaviour(module, ablation)
    circuit = CircuitFinder(module, 1e-4, method=method, ablation=ablation, tokenizer=object()).find(found, with_edges=False)
    assert circuit.nodes == (Site("z", 0, 1), Site("z", 1, 2), Site("mlp_out", 2)) and circuit.level == "node"
    assert circuit.faithfulness == pytest.approx(1, abs=1e-5) and circuit.completeness == pytest.approx(1, abs=1e-5)


def test_decoys_that_read_but_do_not_write_have_no_edges():
    module = only((0, 1), (2, 3))
    found = behaviour(module, count=1)
    nodes = (Site("z", 0, 1), Site("z", 2, 3))
    effects = edge_effects(found, edges_between(found.site_map, found.nodes))
    loud = {edge for edge, effect in effects.items() if abs(effect) > 1e-5}
    senders, receivers = {edge.sender for edge in loud}, {edge.receiver for edge in loud if edge.receiver is not None}
    assert senders <= {EMBED, *nodes}
    assert receivers <= {Site("q", 0, 1), Site("k", 0, 0), Site("v", 0, 0), Site("q", 2, 3), Site("k", 2, 1), Site("v", 2, 1)}
    assert Edge(nodes[1], None) in loud and Edge(EMBED, Site("v", 2, 1)) in loud


@torch.no_grad()
def test_an_edge_is_the_receiver_reading_a_changed_stream():
    """The definition, by hooks alone: the receiver's input shifted by the sender's change, everything else as in the clean run."""
    module = tiny_family("llama")
    found = behaviour(module, count=1)
    example, site_map = found.runs[0].example, found.site_map
    clean, corrupt = (torch.tensor([ids]) for ids in (example.clean, example.corrupt))
    sender, site = Site("z", 0, 1), Site("z", 0)
    change = activations(site_map, corrupt, [site])[site][0, :, 1] - activations(site_map, clean, [site])[site][0, :, 1]
    shift = change @ module.model.layers[0].self_attn.o_proj.weight[:, HEAD : 2 * HEAD].T
    plain = module(clean).logits[0, -1]
    for receiver in (Site("q", 2, 3), Site("v", 1, 1), Site("k", 2, 0), Site("mlp_out", 1)):
        if receiver.name == "mlp_out":
            block = module.model.layers[1]
            middle = activations(site_map, clean, [Site("resid_mid", 1)])[Site("resid_mid", 1)] + shift
            value = block.mlp(block.post_attention_layernorm(middle))
            edit = Edit(receiver, lambda _, value=value: value)
        else:
            block = module.model.layers[receiver.layer]
            stream = activations(site_map, clean, [Site("resid_pre", receiver.layer)])[Site("resid_pre", receiver.layer)] + shift
            projected = getattr(block.self_attn, f"{receiver.name}_proj")(block.input_layernorm(stream)).view(1, 6, -1, HEAD)

            def put(now, head=receiver.head, projected=projected):
                now = now.clone()
                now[:, :, head] = projected[:, :, head]
                return now

            edit = Edit(receiver.whole, put)
        with edited(site_map, [edit]):
            logits = module(clean).logits[0, -1]
        spelt = float((plain[5] - plain[9]) - (logits[5] - logits[9]))
        assert edge_effects(found, [Edge(sender, receiver)])[Edge(sender, receiver)] == pytest.approx(spelt, abs=1e-4)


@pytest.mark.parametrize("method", ["eap", "eap_ig", "eap_ig_activations"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_attribution_is_the_first_order_of_ablation(family, method):
    """Between prompts that hardly differ the two agree; on the way there, a gradient at the wrong place or run would show."""
    module = tiny_family(family)
    found = Behaviour(site_map_of(module), examples(1), "logit_diff", "interchange")
    run = found.runs[0]
    near = {site: run.clean[site] + 1e-3 * (value - run.clean[site]) for site, value in run.corrupt.items() if site in run.clean}
    run.corrupt.update(near)
    run.corrupt_stream.copy_(run.fork.resid_pre[0] + 1e-3 * (run.corrupt_stream - run.fork.resid_pre[0]))
    found._known.clear()
    guessed, true = attribution(found, method, steps=8), exact(found, found.nodes)
    assert correlation(list(guessed.values()), list(true.values())) > 0.99


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_gradients_along_activations_add_up_to_ablating_a_layers_heads(family):
    """Completeness of integrated gradients: along a path of all a layer's heads, their scores sum to what ablating them all does."""
    found = behaviour(tiny_family(family), count=1)
    guessed = attribution(found, "eap_ig_activations", steps=400)
    for layer in range(3):
        heads = [Site("z", layer, head) for head in range(4)]
        total = found.whole - found.value(heads)
        assert sum(guessed[head] for head in heads) == pytest.approx(total, abs=1e-3 * max(1.0, abs(total)))


def test_correlation_needs_something_to_correlate():
    assert correlation([1.0] * 4, [2.0] * 4) is None and correlation([1.0, 2.0], [3.0, 4.0]) is None
    assert correlation([1.0, 2.0, 3.0, 5.0], [-2.0, -4.0, -6.0, -10.0]) == pytest.approx(-1)


def test_stability_is_the_mean_overlap_over_resampled_pairs():
    before, reach = torch.ones(2), torch.ones(2)
    trials = [Trial(0.5, before, torch.tensor([0.5, 0.5])), Trial(0.5, before, torch.tensor([0.0, 1.0]))]
    # a resample holds each pair twice with a chance of 1/4: the second part's loss is then 1, 0, or one half as in the whole
    always, seldom = (stability(trials, [True, True], reach, mark, resamples=4000, seed=0) for mark in (0.4, 0.6))
    assert always == pytest.approx(0.75 * 1 + 0.25 * 0.5, abs=0.02)
    assert seldom == pytest.approx(0.25 * 0.5, abs=0.02)
    assert stability(trials, [True, False], reach, 0.4, resamples=4000, seed=0) == pytest.approx(0.25 * 1 + 0.75 * 0.5, abs=0.02)
    assert stability(trials, [False, False], reach, 0.4, resamples=9, seed=0) is None
    assert stability([Trial(0.5, before[:1], before[:1])], [True], reach[:1], 0.4, resamples=9, seed=0) is None


def test_heads_behind_a_norm_make_a_circuit_of_nodes():
    module = tiny_family("gemma2")
    found = Behaviour(site_map_of(module), examples(1), "logit_diff", "interchange")
    circuit = CircuitFinder(module, 0.05, tokenizer=object()).find(found, with_edges=True)
    assert circuit.level == "node" and circuit.nodes and not circuit.edges


def test_the_finder_speaks_of_heads_and_refuses_what_has_no_circuit():
    model = engine.load_model("builtin:tiny", device="cpu")
    circuit = engine.CircuitFinder(model, threshold=0.02).find_circuit(
        ["The capital of France is"], ["The capital of Japan is"], target_metric="logit_diff"
    )
    assert "attention heads" in circuit.summary() and "→" in circuit.summary()
    assert circuit.faithfulness > 0.8 and 0 < len(circuit.nodes) < 12
    with pytest.raises(UserError, match="as many of both"):
        CircuitFinder(model).find_circuit(["a"], [])
    with pytest.raises(UserError, match="no metric 'logit_dif'\n  did you mean 'logit_diff'"):
        CircuitFinder(model).find_circuit(["The capital of France is"], ["The capital of Japan is"], target_metric="logit_dif")
    with pytest.raises(UserError, match="'rank' has no gradient"):
        CircuitFinder(model, method="eap_ig").find_circuit(["The capital of France is"], ["The capital of Japan is"], target_metric="rank")


def test_without_answers_prompts_that_go_on_alike_are_told_apart_by_what_changes_most():
    model = engine.load_model("builtin:tiny", device="cpu")
    finder = CircuitFinder(model, threshold=0.3)
    clean, corrupt = (tuple(model.tokenizer(text).input_ids) for text in ("The capital of France", "The capital of Japan"))
    with torch.no_grad():
        ends = [model.module(torch.tensor([ids])).logits[0, -1] for ids in (clean, corrupt)]
    assert ends[0].argmax() == ends[1].argmax()
    gain = ends[0].softmax(-1) - ends[1].softmax(-1)
    assert finder._answers_apart(clean, corrupt) == (int(gain.argmax()), int(gain.argmin()))
    circuit = finder.find_circuit(["The capital of France"], ["The capital of Japan"], with_edges=False)
    assert circuit.clean_metric > circuit.empty_metric
    with pytest.raises(UserError, match="give one for each clean input"):
        finder.find_circuit(["The capital of France"], ["The capital of Japan"], answers=[" Paris", " Rome"])


@pytest.mark.parametrize(
    "settings, said",
    [({"method": "acd"}, "did you mean 'acdc'"), ({"ablation": "mad"}, "interchange, mean, zero"), ({"threshold": 2}, "between 0 and 1")],
)
def test_settings_that_are_none(settings, said):
    with pytest.raises(UserError, match=said):
        CircuitFinder(tiny_family("llama"), tokenizer=object(), **settings)
