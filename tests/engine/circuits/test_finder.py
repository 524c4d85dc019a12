"""Circuits: transformers whose weights hold a known circuit give it back, edges included; attributions agree with exact ablation."""

from __future__ import annotations

import copy

import pytest
import torch

import interp_tui_engine as engine
from interp_tui_engine.circuits.attribution import attribution, correlation, exact
from interp_tui_engine.circuits.edges import EMBED, Edge, edge_effects, edges_between
from interp_tui_engine.circuits.finder import CircuitFinder, describe, prune, stability
from interp_tui_engine.circuits.nodes import Behaviour, Example
from interp_tui_engine.errors import UserError
from interp_tui_engine.sites.anatomy import anatomy_of
from interp_tui_engine.sites.answers import Answer
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
    return Behaviour(anatomy_of(module), examples(count), "logit_diff", ablation)


@pytest.mark.parametrize("ablation", ["interchange", "mean", "zero"])
@pytest.mark.parametrize("method", ["acdc", "eap_ig"])
def test_the_nodes_that_write_are_the_circuit(method, ablation):
    truth = (Site("z", 0, 1), Site("z", 1, 2), Site("mlp_out", 2))
    found = behaviour(only((0, 1), (1, 2), mlps=(2,)), ablation)
    nodes, _ = prune(found, 1e-4, method)
    assert nodes == truth
    circuit = describe(found, nodes, 1e-4, {}, with_edges=False)
    assert circuit.faithfulness == pytest.approx(1, abs=1e-5) and circuit.completeness == pytest.approx(1, abs=1e-5)


def test_decoys_that_read_but_do_not_write_have_no_edges():
    module = only((0, 1), (2, 3))
    found = behaviour(module, count=1)
    nodes = (Site("z", 0, 1), Site("z", 2, 3))
    effects = edge_effects(found, edges_between(found.anatomy, found.nodes))
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
    example, anatomy = found.runs[0].example, found.anatomy
    clean, corrupt = (torch.tensor([ids]) for ids in (example.clean, example.corrupt))
    sender, site = Site("z", 0, 1), Site("z", 0)
    change = activations(anatomy, corrupt, [site])[site][0, :, 1] - activations(anatomy, clean, [site])[site][0, :, 1]
    shift = change @ module.model.layers[0].self_attn.o_proj.weight[:, HEAD : 2 * HEAD].T
    plain = module(clean).logits[0, -1]
    for receiver in (Site("q", 2, 3), Site("v", 1, 1), Site("k", 2, 0), Site("mlp_out", 1)):
        if receiver.name == "mlp_out":
            block = module.model.layers[1]
            middle = activations(anatomy, clean, [Site("resid_mid", 1)])[Site("resid_mid", 1)] + shift
            value = block.mlp(block.post_attention_layernorm(middle))
            edit = Edit(receiver, lambda _, value=value: value)
        else:
            block = module.model.layers[receiver.layer]
            stream = activations(anatomy, clean, [Site("resid_pre", receiver.layer)])[Site("resid_pre", receiver.layer)] + shift
            projected = getattr(block.self_attn, f"{receiver.name}_proj")(block.input_layernorm(stream)).view(1, 6, -1, HEAD)

            def put(now, head=receiver.head, projected=projected):
                now = now.clone()
                now[:, :, head] = projected[:, :, head]
                return now

            edit = Edit(receiver.whole, put)
        with edited(anatomy, [edit]):
            logits = module(clean).logits[0, -1]
        spelt = float((plain[5] - plain[9]) - (logits[5] - logits[9]))
        assert edge_effects(found, [Edge(sender, receiver)])[Edge(sender, receiver)] == pytest.approx(spelt, abs=1e-4)


@pytest.mark.parametrize("steps", [0, 8])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_attribution_is_the_first_order_of_ablation(family, steps):
    """Between prompts that hardly differ the two agree; on the way there, a gradient at the wrong place or run would show."""
    module = tiny_family(family)
    found = Behaviour(anatomy_of(module), examples(1), "logit_diff", "interchange")
    run = found.runs[0]
    near = {site: run.clean[site] + 1e-3 * (value - run.clean[site]) for site, value in run.corrupt.items() if site in run.clean}
    run.corrupt.update(near)
    run.corrupt_stream.copy_(run.fork.resid_pre[0] + 1e-3 * (run.corrupt_stream - run.fork.resid_pre[0]))
    found._known.clear()
    guessed, true = attribution(found, steps=steps), exact(found, found.nodes)
    assert correlation(guessed, true) > 0.99


def test_correlation_needs_something_to_correlate():
    nodes = [Site("z", 0, head) for head in range(4)]
    assert correlation(dict.fromkeys(nodes, 1.0), dict.fromkeys(nodes, 2.0)) is None
    values = dict(zip(nodes, [1.0, 2.0, 3.0, 5.0], strict=True))
    assert correlation(values, {node: -2 * value for node, value in values.items()}) == pytest.approx(-1)


def test_stability_is_1_where_every_pair_says_the_same():
    found = behaviour(only((0, 1), (1, 2)), count=3)
    nodes, _ = prune(found, 1e-4, "acdc")
    assert stability(found, nodes, 1e-9, resamples=20, seed=0) is not None
    assert stability(behaviour(only((0, 1)), count=1), nodes, 0.1, resamples=20, seed=0) is None


def test_the_finder_speaks_of_heads_and_refuses_what_has_no_circuit():
    model = engine.load_model("builtin:tiny", device="cpu")
    circuit = engine.CircuitFinder(model, threshold=0.1).find_circuit(
        ["The capital of France is"], ["The capital of Japan is"], target_metric="logit_diff"
    )
    assert "attention heads" in circuit.summary() and "→" in circuit.summary()
    assert circuit.faithfulness > 0.8 and 0 < len(circuit.nodes) < 12
    with pytest.raises(UserError, match="as many of both"):
        CircuitFinder(model).find_circuit(["a"], [])
