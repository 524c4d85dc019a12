"""Which heads, MLPs and edges a behaviour needs: found by cutting, checked by cutting.

    finder = CircuitFinder(model, threshold=0.01)
    circuit = finder.find_circuit(clean_inputs, corrupt_inputs, target_metric="logit_diff", answers=answers, counterfactuals=others)
    print(circuit.summary())

'acdc' tries every part exactly, one after another. The gradient methods estimate what every part is worth from a few backward passes, leave
out at once what they hold for a tenth of the threshold, and try the rest exactly in the same way. Edges are looked for among the nodes that
a search over nodes keeps (scope = 'nodes', which bounds the work on large models) or in the whole graph ('all').
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..sites.site_map import SiteMap
from .acdc import EdgeSearch, without_orphans
from .acdc_nodes import NodeSearch
from .attribution import attribution
from .circuit import Circuit, circuit_of_edges, circuit_of_nodes, measured
from .edge_attribution import edge_attribution
from .edges import EdgeBehaviour, can_be_split
from .graph import Mask
from .methods import Ablation, Method, Scope, no_gradient
from .nodes import Behaviour
from .prepared import Example, Node

BENEATH = 0.1
"""Share of the threshold below which an estimate is believed: what is missed here is never looked at again."""
STEPS = 5
"""Points of a path of integrated gradients: what Hanna et al. found to suffice."""
MOST_EDGES = 1000


def nodes_worth_trying(behaviour: Behaviour, scores: Mapping[Node, float], threshold: float) -> list[Node]:
    """The nodes whose estimate is not beneath notice."""
    reach = abs(behaviour.whole - behaviour.empty)
    return [node for node in behaviour.nodes if abs(scores[node]) >= BENEATH * threshold * reach]


def edges_worth_trying(edges: EdgeBehaviour, scores: Float[Tensor, "receivers senders"], threshold: float, most: int) -> Mask:
    """The edges whose estimate is not beneath notice, the `most` strongest of them."""
    strength = scores.abs() * edges.graph.valid
    floor = BENEATH * threshold * abs(edges.reach)
    least = strength.flatten().topk(min(most, strength.numel())).values[-1]
    return edges.graph.valid & (strength >= max(floor, float(least)))


def check_behaviour(behaviour: Behaviour | EdgeBehaviour) -> None:
    """Raise UserError where ablating everything changes nothing, so that no part can matter."""
    if not abs(behaviour.whole - behaviour.empty) >= 1e-6:
        raise UserError(
            f"the metric is {behaviour.whole:.6g} with all nodes and {behaviour.empty:.6g} with none: no circuit can be found",
            "check that clean and corrupt prompts have different answers, or choose another metric",
        )


@final
class CircuitFinder:
    """Finds circuits in a model: a LoadedModel, or a transformers model with its `tokenizer`."""

    def __init__(
        self,
        model: Any,
        threshold: float = 0.01,
        *,
        method: Method = "acdc",
        ablation: Ablation = "interchange",
        scope: Scope = "nodes",
        tokenizer: Any = None,
    ) -> None:
        from ..sites.cache import ActivationCache

        for name, value, choices in (("method", method, Method), ("ablation", ablation, Ablation), ("scope", scope, Scope)):
            if value not in get_args(choices):
                guess = get_close_matches(str(value), get_args(choices), 1)
                meant = f"did you mean {guess[0]!r}? " if guess else ""
                raise UserError(f"there is no {name} {value!r}", f"{meant}choose from {', '.join(get_args(choices))}")
        if not 0 < threshold < 1:
            raise UserError(f"threshold is {threshold}", "give the share of the behaviour that a part must carry, between 0 and 1")
        cache = ActivationCache(model, tokenizer)
        self.site_map: SiteMap = cache.site_map
        self.tokenizer = cache.tokenizer
        self.threshold, self.method, self.ablation, self.scope = threshold, method, ablation, scope

    def find_circuit(
        self,
        clean_inputs: Sequence[str],
        corrupt_inputs: Sequence[str],
        target_metric: str = "logit_diff",
        *,
        answers: Sequence[str] | None = None,
        counterfactuals: Sequence[str] | None = None,
        with_edges: bool = True,
        long_answers: Literal["error", "first"] = "error",
    ) -> Circuit:
        """The circuit by which the model tells clean from corrupt prompts.

        Without answers, they are the model's own likeliest tokens after the clean and after the corrupt prompts, or, where these are the
        same, the two whose probability differs most between the prompts. Of an answer that is several tokens, long_answers = 'first' takes
        the first. Where a norm stands between a model's heads and its residual stream, the circuit is one of nodes.
        Raises UserError for inputs that do not pair up, and for a metric that the method cannot take.
        """
        for name, given in (("answers", answers), ("counterfactuals", counterfactuals)):
            if given is not None and (isinstance(given, str) or len(given) != len(clean_inputs)):
                raise UserError(f"{name} is {given!r:.60} for {len(clean_inputs)} clean inputs", "give one for each clean input")
        if len(clean_inputs) != len(corrupt_inputs) or not clean_inputs:
            raise UserError(f"{len(clean_inputs)} clean and {len(corrupt_inputs)} corrupt inputs", "give as many of both, at least one")
        examples = [
            self._example(i, clean_inputs, corrupt_inputs, answers, counterfactuals, long_answers) for i in range(len(clean_inputs))
        ]
        if refusal := no_gradient(self.method, target_metric):
            raise UserError(refusal, "use target_metric = 'logit_diff', or method = 'acdc'")
        return self.find(Behaviour(self.site_map, examples, target_metric, self.ablation), with_edges=with_edges)

    def find(self, behaviour: Behaviour, *, with_edges: bool) -> Circuit:
        """The circuit of a behaviour that is prepared already."""
        check_behaviour(behaviour)
        if with_edges and can_be_split(self.site_map):
            return self._of_edges(behaviour)
        scores: dict[Node, float] = {}
        if self.method != "acdc":
            scores = attribution(behaviour, self.method, steps=STEPS)
        nodes = self._nodes(behaviour, nodes_worth_trying(behaviour, scores, self.threshold) if scores else behaviour.nodes)
        return measured(circuit_of_nodes(behaviour, nodes, scores))

    def _nodes(self, behaviour: Behaviour, candidates: Sequence[Node]) -> list[Node]:
        search = NodeSearch(behaviour, candidates, self.threshold)
        for _ in search.order:
            search.decide(search.try_next())
        return search.nodes

    def _of_edges(self, behaviour: Behaviour) -> Circuit:
        edges = EdgeBehaviour(behaviour)
        check_behaviour(edges)
        scores: Tensor | None = None
        if self.method != "acdc":
            scores = edge_attribution(edges, self.method, steps=STEPS)
            candidates = edges_worth_trying(edges, scores, self.threshold, MOST_EDGES)
        elif self.scope == "nodes":
            candidates = edges.graph.between(self._nodes(behaviour, behaviour.nodes))
        else:
            candidates = edges.graph.valid
        search = EdgeSearch(edges, candidates, self.threshold)
        for _ in search.order:
            search.decide(search.try_next())
        return measured(circuit_of_edges(edges, without_orphans(edges, search.kept), scores))

    def _example(
        self,
        index: int,
        clean: Sequence[str],
        corrupt: Sequence[str],
        answers: Sequence[str] | None,
        counterfactuals: Sequence[str] | None,
        long_answers: Literal["error", "first"],
    ) -> Example:
        from ..data.prompts import aligned, answer_ids, need_tokenizer
        from ..sites.answers import Answer

        tokenizer = need_tokenizer(self.tokenizer, "this model")
        name = f"pair {index + 1}: "
        ids = aligned(tokenizer, clean[index], corrupt[index], context=self.site_map.context, name=name)
        own = self._answers_apart(*ids) if answers is None or counterfactuals is None else ()

        def tokens(given: Sequence[str] | None, side: int, which: str, prompt: str) -> tuple[int, ...]:
            if given is None:
                return (own[side],)
            return answer_ids(tokenizer, prompt, given[index], name=name + which, when_long=long_answers, as_whole=False)

        right = tokens(answers, 0, "answer", clean[index])
        wrong = tokens(counterfactuals, 1, "counterfactual", corrupt[index])
        if same := sorted(set(right) & set(wrong)):
            message = f"{name}answer and counterfactual share the token {tokenizer.decode(same)!r}"
            raise UserError(message, "their difference would be 0 whatever the model does")
        return Example(*ids, Answer(right, wrong))

    @torch.no_grad()
    def _answers_apart(self, clean: Sequence[int], corrupt: Sequence[int]) -> tuple[int, int]:
        """The likeliest token after each prompt; where that is one and the same, those whose probability differs most either way."""
        from ..sites.branched_run import record

        device = next(self.site_map.embed.parameters()).device
        ends = [
            record(self.site_map, torch.tensor([list(ids)], device=device)).logits([len(ids) - 1])[0].float() for ids in (clean, corrupt)
        ]
        likeliest = [int(end.argmax()) for end in ends]
        if likeliest[0] == likeliest[1]:
            gain = ends[0].softmax(-1) - ends[1].softmax(-1)
            likeliest = [int(gain.argmax()), int(gain.argmin())]
        return likeliest[0], likeliest[1]
