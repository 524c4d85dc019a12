"""Ablated nodes: equal to one full forward pass for each set of them and example, in far fewer passes, and searched as if one by one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from interp_tui_engine.circuits import nodes as nodes_module
from interp_tui_engine.circuits.acdc_nodes import NodeSearch
from interp_tui_engine.circuits.nodes import Behaviour
from interp_tui_engine.circuits.prepared import Example, Node
from interp_tui_engine.sites.answers import Answer
from interp_tui_engine.sites.branched_run import BranchedRun
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, edited
from references.tiny_families import some_ids, tiny_family
from simulated_gpu import COUNTS, simulated_gpu, to_gpu


def examples(count: int = 4) -> list[Example]:
    """The third is shorter, and the second differs from its first token on."""
    made = []
    for seed in range(count):
        length, same = (5 if seed == 2 else 6), (0 if seed == 1 else 2)
        clean, corrupt = some_ids(1, length, seed)[0].tolist(), some_ids(1, length, seed + 50)[0].tolist()
        corrupt[:same] = clean[:same]
        made.append(Example(tuple(clean), tuple(corrupt), Answer((5,), (9,))))
    return made


def behaviour(family: str, ablation: Any = "interchange", count: int = 4) -> Behaviour:
    return Behaviour(site_map_of(tiny_family(family)), examples(count), "logit_diff", ablation)


def some_sets(nodes: Sequence[Node], seed: int = 0) -> list[set[Node]]:
    draw = torch.Generator().manual_seed(seed)
    return [{node for node in nodes if float(torch.rand((), generator=draw)) < share} for share in (0.1, 0.5, 0.9)] + [set(), set(nodes)]


@torch.no_grad()
def one_by_one(found: Behaviour, sets: Sequence[set[Node]], module: Any) -> torch.Tensor:
    """Each set and example by a full forward pass of the model, under plain hooks."""
    metrics = torch.zeros(len(sets), len(found.runs))
    for row, ablated in enumerate(sets):
        for column, run in enumerate(found.runs):

            def put(value: torch.Tensor, node: Node, run: Any = run) -> torch.Tensor:
                value = value.clone()
                value[(0,) if node.head is None else (0, slice(None), node.head)] = found.instead(run, node)
                return value

            edits = [Edit(node.whole, lambda value, node=node, put=put: put(value, node)) for node in sorted(ablated)]  # type: ignore[misc]
            with edited(found.site_map, edits):
                logits = module(torch.tensor([run.example.clean])).logits[0, -1]
            metrics[row, column] = logits[5] - logits[9]
    return metrics


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "opt", "bloom", "falcon"])
def test_sets_together_equal_full_passes_one_by_one(family: str) -> None:
    found = behaviour(family)
    sets = some_sets(found.nodes)
    torch.testing.assert_close(found.per_example_of(sets), one_by_one(found, sets, tiny_family(family)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_other_ablations_do_too(ablation: str) -> None:
    found = behaviour("llama", ablation)
    sets = some_sets(found.nodes)
    torch.testing.assert_close(found.per_example_of(sets), one_by_one(found, sets, tiny_family("llama")), atol=1e-4, rtol=0)


def test_all_nodes_alone_are_a_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found, run, passes = behaviour("llama"), BranchedRun.run, []

    def counted(self: BranchedRun, jobs: Sequence[Any], *rest: Any, **options: Any) -> torch.Tensor:
        passes.append(len(jobs))
        return run(self, jobs, *rest, **options)

    monkeypatch.setattr(BranchedRun, "run", counted)
    losses = found.losses(found.nodes)
    assert losses.shape == (15, 4) and sorted(passes) == [15, 45], "three examples of one length together, and one by itself"
    alone = torch.stack([found.per_example(()) - found.per_example([node]) for node in found.nodes])
    torch.testing.assert_close(losses, alone, atol=1e-5, rtol=0)
    monkeypatch.setattr(nodes_module, "MOST_ROWS", 8)
    passes.clear()
    torch.testing.assert_close(behaviour("llama").losses(found.nodes), losses, atol=1e-5, rtol=0)
    assert max(passes) <= 8


def test_nodes_on_a_gpu_launch_and_wait_little_more_for_many_than_for_one() -> None:
    with simulated_gpu():
        found = Behaviour(site_map_of(to_gpu(copy.deepcopy(tiny_family("llama")))), examples(2), "logit_diff", "interchange")
        costs = []
        for nodes in ([found.nodes[0]], found.nodes):
            COUNTS.reset()
            there = found.losses(nodes)
            costs.append((sum(COUNTS.launches.values()), sum(COUNTS.waits.values())))
        torch.testing.assert_close(there, behaviour("llama", count=2).losses(found.nodes), rtol=1e-4, atol=1e-5)
    (launches, waits), (all_launches, all_waits) = costs
    assert all_launches < 3 * launches and all_waits < 4 * waits, costs  # 15 nodes


def test_rows_that_do_not_fit_are_run_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    found, run = behaviour("llama"), BranchedRun.run
    whole = found.losses(found.nodes)

    def hungry(self: BranchedRun, jobs: Sequence[Any], *rest: Any, **options: Any) -> torch.Tensor:
        if len(jobs) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, jobs, *rest, **options)

    monkeypatch.setattr(BranchedRun, "run", hungry)
    torch.testing.assert_close(found.losses(found.nodes), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5])
def test_the_search_is_one_node_after_another(threshold: float) -> None:
    found = behaviour("llama")
    search = NodeSearch(found, found.nodes, threshold)
    kept, faith = set(found.nodes), found.faithfulness(found.nodes)
    for node in search.order:
        search.decide(search.try_next())
        without = found.faithfulness(kept - {node})
        if abs(faith - without) < threshold:
            kept, faith = kept - {node}, without
    assert set(search.nodes) == kept and search.faithfulness == pytest.approx(faith, abs=1e-4)
    assert 0 < len(kept) < len(found.nodes)


def test_a_resumed_search_sees_the_same_bits() -> None:
    found = behaviour("llama")
    whole, trials = NodeSearch(found, found.nodes, 0.1), []
    for _ in whole.order:
        trials.append(whole.try_next())
        whole.decide(trials[-1])
    assert any(whole.stayed) and not all(whole.stayed)
    for stop in range(1, len(trials)):
        again = NodeSearch(behaviour("llama"), found.nodes, 0.1)
        for trial in trials[:stop]:
            again.decide(trial)
        assert torch.equal(again.try_next().after, trials[stop].after)
