"""Which heads and MLPs a behaviour needs: found by ablation, checked by ablation.

    finder = CircuitFinder(model, threshold=0.01)
    circuit = finder.find_circuit(clean_inputs, corrupt_inputs, target_metric="logit_diff", answers=answers, counterfactuals=others)
    print(circuit.summary())

ACDC over nodes (Conmy et al. 2023, arXiv 2304.14997): from the last layer to the first, a node goes if the circuit's faithfulness
changes by less than `threshold` without it; a node that works against the behaviour stays. 'eap_ig' first drops, all at once, the
nodes that integrated gradients hold for a tenth of that, and then checks the others exactly in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from ..errors import UserError
from ..sites.anatomy import Anatomy
from .attribution import attribution
from .edges import Edge, can_be_split, edge_effects, edges_between
from .nodes import Ablation, Behaviour, Example, Node, node_name

Method = Literal["acdc", "eap_ig"]
STEPS = 5
"""Points of the path of integrated gradients: what Hanna et al. found to suffice."""
MOST_EDGES = 4000


@dataclass(frozen=True)
class Circuit:
    """The nodes a behaviour needs, what they are worth, and which of their connections carry it."""

    nodes: tuple[Node, ...]
    node_effects: dict[Node, float]
    """Share of the behaviour that the circuit loses without the node."""
    edges: dict[Edge, float]
    """Share of the behaviour that is lost when the edge alone is cut."""
    faithfulness: float
    completeness: float
    minimality: float
    clean_metric: float
    empty_metric: float
    scores: dict[Node, float] = field(default_factory=dict)
    heads_per_kv: int = 1
    """Heads that share one head of keys and values."""

    def summary(self) -> str:
        """The circuit in a few lines, strongest nodes first."""
        heads = sum(node.name == "z" for node in self.nodes)
        lines = [
            f"Circuit: {heads} attention heads, {len(self.nodes) - heads} MLP layers",
            f"faithfulness {self.faithfulness:.3f}, completeness {self.completeness:.3f}, minimality {self.minimality:.3f}",
        ]
        strongest = sorted(self.nodes, key=lambda node: -abs(self.node_effects[node]))
        lines += [f"  {node_name(node):<8} {self.node_effects[node]:+.3f}" for node in strongest]
        told = sorted(self.edges, key=lambda edge: -abs(self.edges[edge]))
        lines += [f"  {edge.name:<24} {self.edges[edge]:+.3f}" for edge in told]
        return "\n".join(lines)


def worth_checking(behaviour: Behaviour, scores: dict[Node, float], threshold: float) -> list[Node]:
    """The nodes whose attribution is at least a tenth of the threshold: one that is missed here is never looked at again."""
    reach = abs(behaviour.whole - behaviour.empty)
    return [node for node in behaviour.nodes if abs(scores[node]) >= 0.1 * threshold * reach]


def prune(
    behaviour: Behaviour, threshold: float, method: Method, on_step: Callable[[int, Node, bool], None] = lambda done, node, kept: None
) -> tuple[tuple[Node, ...], dict[Node, float]]:
    """The nodes that stay, in forward order, and the attributions that went before (empty for acdc)."""
    kept, scores = list(behaviour.nodes), {}
    if method == "eap_ig":
        scores = attribution(behaviour, steps=STEPS)
        kept = worth_checking(behaviour, scores, threshold)
    faith = behaviour.faithfulness(kept)
    for done, node in enumerate(reversed(list(kept)), 1):
        without = [other for other in kept if other != node]
        loss = behaviour.faithfulness(without)
        stays = abs(faith - loss) >= threshold
        if not stays:
            kept, faith = without, loss
        on_step(done, node, stays)
    return tuple(kept), scores


def describe(behaviour: Behaviour, nodes: Sequence[Node], threshold: float, scores: dict[Node, float], *, with_edges: bool) -> Circuit:
    """Measure a set of nodes, and the edges among them that carry at least the threshold."""
    effects = behaviour.minimality(nodes)
    reach = behaviour.whole - behaviour.empty
    edges: dict[Edge, float] = {}
    if with_edges and nodes and can_be_split(behaviour.anatomy):
        wanted = edges_between(behaviour.anatomy, nodes)
        if len(wanted) <= MOST_EDGES:
            found = {edge: loss / reach for edge, loss in edge_effects(behaviour, wanted).items()}
            edges = {edge: share for edge, share in found.items() if abs(share) >= threshold}
    return Circuit(
        tuple(nodes),
        effects,
        edges,
        behaviour.faithfulness(nodes),
        behaviour.completeness(nodes),
        min(map(abs, effects.values()), default=0.0),
        behaviour.whole,
        behaviour.empty,
        scores,
        behaviour.anatomy.heads("z") // behaviour.anatomy.heads("v"),
    )


def stability(behaviour: Behaviour, nodes: Sequence[Node], threshold: float, *, resamples: int, seed: int) -> float | None:
    """Mean Jaccard overlap of the circuit with the nodes whose loss reaches the threshold on resampled pairs; None for a single pair."""
    count = len(behaviour.runs)
    if count < 2 or not nodes:
        return None
    outside = set(behaviour.nodes) - set(nodes)
    kept = behaviour.per_example(outside).numpy()
    without = np.stack([behaviour.per_example(outside | {node}).numpy() for node in nodes])
    reach = behaviour.per_example(()).numpy() - behaviour.per_example(behaviour.nodes).numpy()
    found = []
    for draw in np.random.default_rng(seed).integers(0, count, (resamples, count)):
        loss = (kept[draw].mean() - without[:, draw].mean(1)) / reach[draw].mean()
        found.append(float((np.abs(loss) >= threshold).mean()))
    return float(np.mean(found))


def check_behaviour(behaviour: Behaviour) -> None:
    """Raise UserError where ablating everything changes nothing, so that no node can matter."""
    if not abs(behaviour.whole - behaviour.empty) >= 1e-6:
        raise UserError(
            f"the metric is {behaviour.whole:.6g} with all nodes and {behaviour.empty:.6g} with none: no circuit can be found",
            "check that clean and corrupt prompts have different answers, or choose another metric",
        )


@final
class CircuitFinder:
    """Finds circuits in a model: a LoadedModel, or a transformers model with its `tokenizer`."""

    def __init__(
        self, model: Any, threshold: float = 0.01, *, method: Method = "acdc", ablation: Ablation = "interchange", tokenizer: Any = None
    ) -> None:
        from ..sites.cache import ActivationCache

        cache = ActivationCache(model, tokenizer)
        self.anatomy: Anatomy = cache.anatomy
        self.tokenizer = cache.tokenizer
        self.threshold, self.method, self.ablation = threshold, method, ablation

    def find_circuit(
        self,
        clean_inputs: Sequence[str],
        corrupt_inputs: Sequence[str],
        target_metric: str = "logit_diff",
        *,
        answers: Sequence[str] | None = None,
        counterfactuals: Sequence[str] | None = None,
        with_edges: bool = True,
    ) -> Circuit:
        """The circuit by which the model tells clean from corrupt prompts.

        Without answers, they are the model's own likeliest tokens after the clean and after the corrupt prompts.
        """
        if len(clean_inputs) != len(corrupt_inputs) or not clean_inputs:
            raise UserError(f"{len(clean_inputs)} clean and {len(corrupt_inputs)} corrupt inputs", "give as many of both, at least one")
        examples = [self._example(i, clean_inputs, corrupt_inputs, answers, counterfactuals) for i in range(len(clean_inputs))]
        behaviour = Behaviour(self.anatomy, examples, target_metric, self.ablation)
        check_behaviour(behaviour)
        nodes, scores = prune(behaviour, self.threshold, self.method)
        return describe(behaviour, nodes, self.threshold, scores, with_edges=with_edges)

    def _example(
        self,
        index: int,
        clean: Sequence[str],
        corrupt: Sequence[str],
        answers: Sequence[str] | None,
        counterfactuals: Sequence[str] | None,
    ) -> Example:
        from ..data.prompts import need_tokenizer, read_pair, texts_of

        tokenizer = need_tokenizer(self.tokenizer, "this model")
        own = [texts_of(tokenizer, [self._likeliest(tokenizer(text).input_ids)])[0] for text in (clean[index], corrupt[index])]
        record = {
            "clean": clean[index],
            "corrupt": corrupt[index],
            "answer": answers[index] if answers else own[0],
            "counterfactual": counterfactuals[index] if counterfactuals else own[1],
        }
        pair = read_pair(tokenizer, record, context=self.anatomy.context, name=f"pair {index + 1}: ")
        from ..sites.answers import Answer

        return Example(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual))

    def _likeliest(self, ids: Sequence[int]) -> int:
        import torch

        from ..sites.fork import record

        device = next(self.anatomy.embed.parameters()).device
        with torch.no_grad():
            return int(record(self.anatomy, torch.tensor([list(ids)], device=device)).logits([len(ids) - 1])[0].argmax())
