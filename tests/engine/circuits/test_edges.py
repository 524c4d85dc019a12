"""Cut edges: equal to full forward passes receiver by receiver, on every way a block is built, and searched as if one by one."""

from __future__ import annotations

import copy

import pytest
import torch

from interp_tui_engine.circuits import edges
from interp_tui_engine.circuits.acdc import EdgeSearch, without_orphans
from interp_tui_engine.circuits.edge_attribution import edge_attribution
from interp_tui_engine.circuits.edge_run import EdgeRun
from interp_tui_engine.circuits.edges import EMBED, Edge, EdgeBehaviour, edge_effects
from interp_tui_engine.circuits.nodes import Behaviour
from interp_tui_engine.circuits.prepared import Example
from interp_tui_engine.errors import UserError
from interp_tui_engine.models import halving
from interp_tui_engine.sites.answers import Answer
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.site import Site
from references.edge_loop import cut_logits
from references.tiny_families import some_ids, tiny_family

SAME = 2
"""Tokens that clean and corrupt share at the beginning."""


def edges_of(family, ablation="interchange", count=1):
    """The third of several is shorter, and the second differs from its first token on."""
    examples = []
    for seed in range(count):
        length, same = (5 if seed == 2 else 6), (0 if seed == 1 else SAME)
        clean, corrupt = some_ids(1, length, seed)[0].tolist(), some_ids(1, length, seed + 50)[0].tolist()
        corrupt[:same] = clean[:same]
        examples.append(Example(tuple(clean), tuple(corrupt), Answer((5,), (9,))))
    return EdgeBehaviour(Behaviour(site_map_of(tiny_family(family)), examples, "logit_diff", ablation))


def masks(graph, *shares, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.stack([(torch.rand(graph.valid.shape, generator=draw) < share) & graph.valid for share in shares])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "qwen3", "granite", "phi3", "opt", "falcon", "bloom"])
def test_cut_edges_equal_full_passes(family):
    found = edges_of(family, count=3)
    run, graph = found.single(0), found.graph
    cuts = masks(graph, 0.05, 0.5, 0.95)
    scores = found.per_example(cuts)
    assert run.start == SAME and len({round(float(v), 3) for v in run.score(cuts)}) == 3
    torch.testing.assert_close(run.score(cuts), scores[:, :1], atol=1e-5, rtol=0)
    assert sorted(map(len, found._groups)) == [1, 2]
    for index, one in enumerate(found.nodes.runs):
        instead = {node: found._instead(one, node) for node in graph.senders}
        for cut, value in zip(cuts, scores[:, index], strict=True):
            logits = cut_logits(tiny_family(family), graph, torch.tensor([one.example.clean]), instead, cut)
            assert float(value) == pytest.approx(float(logits[5] - logits[9]), abs=1e-4)


def test_what_is_not_kept_is_computed_again(monkeypatch):
    cuts = masks(edges_of("llama").graph, 0.3, 0.7)
    outside = cuts[0] & cuts[1]
    kept = edges_of("llama", count=3)
    expected = kept.per_example(cuts), kept.per_example(cuts, outside, 0)
    monkeypatch.setattr(edges, "KEPT", 0)
    monkeypatch.setattr(edges, "LEAST_ROWS", halving.ON_A_CPU)  # no room for two examples together
    found = edges_of("llama", count=3)
    again = found.per_example(cuts), found.per_example(cuts, outside, 0)
    assert not found._kept and len(found._groups) == 3 and len(kept._kept) == 2
    for left, right in zip(again, expected, strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=0)


@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_other_ablations_cut_the_same_way(ablation):
    found = edges_of("llama", ablation, count=2)
    (cut,) = masks(found.graph, 0.5)
    for one, value in zip(found.nodes.runs, found.per_example(cut[None])[0], strict=True):
        instead = {node: found._instead(one, node) for node in found.graph.senders}
        logits = cut_logits(tiny_family("llama"), found.graph, torch.tensor([one.example.clean]), instead, cut)
        assert float(value) == pytest.approx(float(logits[5] - logits[9]), abs=1e-4)
    assert found.single(0).start == 0


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_all_cut_is_the_corrupt_run_and_none_the_clean_one(family):
    found = edges_of(family, count=2)
    corrupt = torch.stack([run.score(tiny_family(family)(torch.tensor([run.example.corrupt])).logits[0, -1]) for run in found.nodes.runs])
    torch.testing.assert_close(found.empties, corrupt, atol=1e-4, rtol=0)
    assert found.faithfulness(found.graph.valid) == pytest.approx(1, abs=1e-4)
    assert found.completeness(found.graph.valid) == pytest.approx(1, abs=1e-4)
    assert found.completeness(found.none) == pytest.approx(0, abs=1e-6), "several examples travel in one batch: equal up to its rounding"


def test_a_run_branches_off_a_base_run():
    found = edges_of("llama")
    run, graph = found.single(0), found.graph
    (low,) = masks(graph, 0.5)
    low[graph.first_reader(1) :] = False  # of the first block only
    base = run.base(low)
    cuts = masks(graph, 0.3, 0.7, seed=1)
    cuts[:, : graph.first_reader(1)] = low[: graph.first_reader(1)]
    torch.testing.assert_close(run.score(cuts, base, 1), run.score(cuts), atol=1e-5, rtol=0)


def test_layers_nobody_listens_to_are_not_run(monkeypatch):
    found = edges_of("llama")
    cut = found.graph.valid.clone()
    last = found.graph.receiver_at[None]
    cut[last, found.graph.sender_at[Site("mlp_out", 0)]] = False
    seen = []
    one = found.nodes.runs[0]
    real = EdgeRun.block
    monkeypatch.setattr(EdgeRun, "block", lambda self, layer, *rest: seen.append(layer) or real(self, layer, *rest))
    value = found.per_example(cut[None])[0]
    assert seen == [0]
    instead = {node: found._instead(one, node) for node in found.graph.senders}
    logits = cut_logits(tiny_family("llama"), found.graph, torch.tensor([one.example.clean]), instead, cut)
    assert float(value[0]) == pytest.approx(float(logits[5] - logits[9]), abs=1e-4)


def test_an_edge_alone_is_one_cut():
    found = edges_of("llama", count=2)
    some = [Edge(EMBED, Site("q", 0, 1)), Edge(Site("z", 0, 1), Site("v", 1, 0)), Edge(Site("mlp_out", 1), None)]
    spelt = [found.whole - float(found.per_example(found.graph.mask([edge])[None]).mean()) for edge in some]
    assert list(edge_effects(found.nodes, some).values()) == pytest.approx(spelt, abs=1e-5)
    assert found.graph.edges(found.graph.mask(some)) == some


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_estimates_are_the_first_order_of_cutting(family):
    """With ablated runs hardly different from the clean one, each edge's estimate is what cutting it does."""
    module = copy.deepcopy(tiny_family(family)).double()
    example = Example((5, 9, 12, 30), (5, 41, 22, 30), Answer((5,), (9,)))
    found = EdgeBehaviour(Behaviour(site_map_of(module), [example], "logit_diff", "interchange"))
    run = found.single(0)
    run.written_instead = run.written_instead + (1e-3 - 1) * run.clean.away
    run.clean = run.clean._replace(away=1e-3 * run.clean.away)
    some = found.graph.edges(masks(found.graph, 0.1)[0])
    guessed = edge_attribution(found, "eap", steps=1)
    for edge, effect in zip(some, found.alone(some), strict=True):
        guess = float(guessed[found.graph.receiver_at[edge.receiver], found.graph.sender_at[edge.sender]])
        assert guess == pytest.approx(effect, rel=1e-2, abs=2e-6)  # scores are float32
    assert (guessed[~found.graph.valid] == 0).all()


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2"])
def test_integrated_gradients_add_up(family):
    """Completeness: over all receivers, the scores of what moves along a path sum to what moving it does."""
    found = edges_of(family)
    graph = found.graph
    along_inputs = edge_attribution(found, "eap_ig", steps=300)[:, 0].sum()
    assert float(along_inputs) == pytest.approx(found.reach, abs=2e-3 * max(1.0, abs(found.reach)))
    each = edge_attribution(found, "eap_ig_activations", steps=300)
    for layer in range(3):
        heads = [Site("z", layer, head) for head in range(4)]
        for nodes in (heads, [Site("mlp_out", layer)]):
            moved = found.whole - found.nodes.value(nodes)
            scores = each[:, [graph.sender_at[node] for node in nodes]].sum()
            assert float(scores) == pytest.approx(moved, abs=2e-3 * max(1.0, abs(moved)))


@pytest.mark.parametrize("family, start", [("llama", 1.0), ("gpt_neox", 1.0), ("llama", 0.3)])
def test_the_search_is_one_edge_after_another(family, start):
    """Trying many at once, and branching off earlier runs, decides as the plain procedure does."""
    found = edges_of(family, count=2)
    graph = found.graph
    (candidates,) = masks(graph, start) if start < 1 else (graph.valid,)
    search = EdgeSearch(found, candidates, 0.02)
    for _ in search.order:
        search.decide(search.try_next())
    kept, order = candidates.clone(), search.order
    faith = found.faithfulness(kept)
    for edge in order:
        owners = graph.owned[graph.receiver_at[edge.receiver]].nonzero()[:, 0].tolist()
        less = kept & ~graph.mask([edge])
        if edge.receiver is not None and not kept[:, owners].any():
            kept = less
            continue
        without = found.faithfulness(less)
        if abs(faith - without) < 0.02:
            kept, faith = less, without
    assert torch.equal(search.kept, kept) and 0 < int(kept.sum()) < int(candidates.sum())
    assert search.faithfulness == pytest.approx(faith, abs=1e-4)
    assert found.faithfulness(without_orphans(found, kept)) == pytest.approx(faith, abs=1e-4)


def test_a_resumed_search_sees_the_same_numbers():
    found = edges_of("llama")
    whole, trials = EdgeSearch(found, found.graph.valid, 0.02), []
    for _ in whole.order:
        trials.append(whole.try_next())
        whole.decide(trials[-1])
    for stop in (3, 70, 71, len(trials) - 5):
        again = EdgeSearch(found, found.graph.valid, 0.02)
        for trial in trials[:stop]:
            again.decide(trial)
        for trial in trials[stop : stop + 3]:
            new = again.try_next()
            assert (new is None) == (trial is None) and (new is None or torch.equal(new.after, trial.after))
            again.decide(new)


def test_heads_behind_a_norm_have_no_edges():
    with pytest.raises(UserError, match=r"(?s)single heads have no share.*level = 'node'"):
        edges_of("gemma2")
