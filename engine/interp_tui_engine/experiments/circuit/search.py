"""A circuit's search, told part by part and resumable: nodes one at a time, edges in the blocks that are tried together."""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...events import Event, Metrics, Phase, Progress, Warned
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...runtime.steps import Numbers, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from ...circuits.circuit import Circuit
    from ...circuits.edges import EdgeBehaviour
    from ...circuits.graph import Mask
    from ...circuits.nodes import Behaviour, Node
    from ...circuits.trial import Trial
    from .params import Params


Part = TypeVar("Part", bound=Hashable)
SAMPLE = 32
"""Parts cut alone to see how far estimates can be trusted."""


@dataclass(frozen=True)
class Found:
    """A circuit, how it was come by, and how far it depends on the pairs."""

    circuit: Circuit
    stability: float | None
    considered: int
    """Parts that might have been in it."""
    tried: int
    """Parts that were cut to see what happens."""
    correlation: float | None
    """Of estimates with what cutting the part alone does, over a sample of parts; None for acdc, which estimates nothing."""


def search(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    """Find the circuit of the level that is asked for."""
    params: Params = context.manifest.params
    from ...circuits import finder
    from ...circuits.attribution import correlation
    from ...circuits.circuit import circuit_of_edges, circuit_of_nodes

    agreement: float | None = None

    if params.level == "node":
        scores: dict[Node, float] = {}
        candidates: Sequence[Node] = behaviour.nodes
        if params.method != "acdc":
            from ...circuits.attribution import attribution

            yield Phase("attributing", params.method)
            scores = attribution(behaviour, params.method, steps=params.steps)
            candidates = finder.nodes_worth_trying(behaviour, scores, params.threshold)
            sample = sampled(behaviour.nodes, scores, SAMPLE, context.manifest.seed)
            agreement = correlation([scores[node] for node in sample], [behaviour.whole - behaviour.value([node]) for node in sample])
        nodes, trials, stayed = yield from _nodes(context, behaviour, candidates, "steps")
        yield Phase("measuring", f"{len(nodes)} nodes")
        stable = _stability(context, trials, stayed, behaviour.per_example(()) - behaviour.per_example(behaviour.nodes))
        return Found(circuit_of_nodes(behaviour, nodes, scores), stable, len(behaviour.nodes), len(trials), agreement)
    from ...circuits.acdc import without_orphans
    from ...circuits.edges import EdgeBehaviour

    edges = EdgeBehaviour(behaviour)
    finder.check_behaviour(edges)
    guesses = None
    if params.method != "acdc":
        guesses = yield from attributed(context, edges)
        wanted = finder.edges_worth_trying(edges, guesses, params.threshold, params.most_edges)
        scored = dict(zip(edges.graph.edges(edges.graph.valid), guesses[edges.graph.valid].tolist(), strict=True))
        chosen = sampled(list(scored), scored, SAMPLE, context.manifest.seed)
        yield Phase("holding estimates against cutting", f"{len(chosen)} edges alone")
        agreement = correlation([scored[edge] for edge in chosen], edges.alone(chosen))
    elif params.scope == "nodes":
        nodes, _, _ = yield from _nodes(context, behaviour, behaviour.nodes, "nodes")
        wanted = edges.graph.between(nodes)
    else:
        wanted = edges.graph.valid
    kept, tried = yield from _edges(context, edges, wanted)
    circuit = circuit_of_edges(edges, without_orphans(edges, kept), guesses)
    stable = _stability(context, [t for t, _ in tried], [stays for _, stays in tried], behaviour.per_example(()) - edges.empties)
    return Found(circuit, stable, int(edges.graph.valid.sum()), len(tried), agreement)


def sampled(parts: Sequence[Part], guesses: Mapping[Part, float], size: int, seed: int) -> list[Part]:
    """Parts to hold estimates against: half the largest estimates, half drawn from the others; in the order of `parts`."""
    ranked = sorted(parts, key=lambda part: -abs(guesses[part]))
    sure, rest = ranked[: size // 2], ranked[size // 2 :]
    drawn = np.random.default_rng(seed).permutation(len(rest))[: size - len(sure)]
    wanted = {*sure, *(rest[i] for i in drawn)}
    return [part for part in parts if part in wanted]


def attributed(context: Context, edges: EdgeBehaviour) -> Generator[Event, None, Tensor]:
    """Every edge's estimate, pair by pair. A resumed run makes it anew: it takes less time than what follows."""
    from ...circuits.edge_attribution import attribution_of

    params, total = context.manifest.params, edges.examples
    yield Phase("attributing", f"{int(edges.graph.valid.sum()):,} edges by {params.method}")
    found, began = [], time.monotonic()
    for done in range(1, total + 1):
        wait_while_paused(context)
        found.append(attribution_of(edges.single(done - 1), params.method, steps=params.steps))
        yield Progress(done, total, "pairs", (time.monotonic() - began) / done * (total - done))
    return sum(found[1:], found[0]) / total


def _stability(context: Context, trials: Sequence[Trial], stayed: Sequence[bool], reach: Any) -> float | None:
    from ...circuits.trial import stability

    params: Params = context.manifest.params
    return stability(trials, stayed, reach, params.threshold, resamples=params.resamples, seed=context.manifest.seed)


def _nodes(
    context: Context, behaviour: Behaviour, candidates: Sequence[Node], name: str
) -> Generator[Event, None, tuple[list[Node], list[Trial], list[bool]]]:
    from ...circuits.acdc_nodes import NodeSearch
    from ...circuits.nodes import node_name

    yield Phase("ablating", f"{len(candidates)} nodes")
    going = NodeSearch(behaviour, candidates, context.manifest.params.threshold)
    trials: list[Trial] = []

    def say(index: int, node: Node, numbers: Numbers) -> list[Event]:
        tried = _trial(numbers)
        stays = going.decide(tried)
        trials.append(tried)
        part = {"node": node_name(node), "layer": node.layer, "head": node.head}
        told = {**part, "loss": tried.loss, "kept": stays, "faithfulness": going.faithfulness, **_ends(behaviour)}
        return [Metrics("cells", index, told), Metrics("headline", index, {"nodes": len(going.kept), "faithfulness": going.faithfulness})]

    yield from Steps(context, going.order, unit="nodes", size=lambda _: 1, name=name).run(lambda _: _numbers(going.try_next()), say)
    return going.nodes, trials, going.stayed


def _edges(context: Context, edges: EdgeBehaviour, candidates: Mask) -> Generator[Event, None, tuple[Mask, list[tuple[Trial, bool]]]]:
    from ...circuits.acdc import EdgeSearch
    from .params import MANY_EDGES

    going = EdgeSearch(edges, candidates, context.manifest.params.threshold)
    yield Phase("cutting", f"{len(going.order):,} edges")
    if len(going.order) > MANY_EDGES:
        said = f"{len(going.order):,} edges are to be cut one after another, which may take hours"
        yield Warned(f"{said}; method = 'eap_ig' would cut the most_edges strongest, scope = 'nodes' those between the nodes that matter")
    tried: list[tuple[Trial, bool]] = []
    width = 1 + 2 * edges.examples

    def do(block: range) -> Numbers:
        found = np.full((len(block), width), np.nan, np.float32)
        for row in found:
            if (trial := going.try_next()) is not None:
                row[:] = _numbers(trial)
            going.decide(trial)
        return found.ravel()

    def say(index: int, block: range, numbers: Numbers) -> list[Event]:
        events: list[Event] = []
        for at, row in zip(block, numbers.reshape(-1, width), strict=True):
            trial = None if np.isnan(row[0]) else _trial(row)
            if len(going.stayed) <= at:  # told again by a resumed run
                going.decide(trial)
            if trial is None:
                continue
            tried.append((trial, going.stayed[at]))
            after = edges.share(float((trial.before if going.stayed[at] else trial.after).mean()))
            told = {"edge": going.order[at].name, "loss": trial.loss, "kept": going.stayed[at], "faithfulness": after}
            events.append(Metrics("cells", START + at, {**told, **_ends(edges)}))
        kept = sum(stays for _, stays in tried)
        return [*events, Metrics("headline", START + index, {"edges": kept, "faithfulness": edges.share(float(going.now.mean()))})]

    yield from Steps(context, going.blocks, unit="edges", size=len, name="edges").run(do, say)
    return going.kept, tried


START = 1_000_000
"""Steps of edges count from here, after those of nodes."""


def _ends(behaviour: Behaviour | EdgeBehaviour) -> dict[str, float]:
    return {"clean_metric": behaviour.whole, "empty_metric": behaviour.empty}


def _numbers(trial: Trial) -> Numbers:
    return np.concatenate([np.array([trial.loss], np.float32), trial.before.numpy(), trial.after.numpy()])


def _trial(numbers: Numbers) -> Trial:
    import torch

    from ...circuits.trial import Trial

    before, after = torch.tensor(numbers[1:]).chunk(2)
    return Trial(float(numbers[0]), before, after)
