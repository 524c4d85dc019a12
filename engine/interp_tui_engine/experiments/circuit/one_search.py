"""One search of a circuit's parts, told part by part and resumable: nodes one at a time, edges in the blocks that are tried together."""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ...events import Event, Metrics, Phase, Progress, Warned
from ...results.circuit import CircuitCell, CircuitHeadline
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...runtime.steps import Numbers, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from ...circuits.edges import EdgeBehaviour
    from ...circuits.graph import Mask
    from ...circuits.nodes import Behaviour
    from ...circuits.prepared import Node
    from ...circuits.trial import Trial

Part = TypeVar("Part", bound=Hashable)
SAMPLE = 32
"""Parts cut alone to see how far estimates can be trusted."""
START = 1_000_000
"""Steps of edges count from here, after those of nodes."""


@dataclass(frozen=True)
class Stage:
    """One search of a run: its pairs, under which name its steps are kept, and whether it is told part by part."""

    behaviour: Behaviour
    name: str = ""
    reported: bool = True


@dataclass(frozen=True)
class Kept:
    """What a search kept, before it is measured."""

    nodes: Sequence[Node]
    trials: list[Trial]
    stayed: list[bool]
    scores: dict[Node, float]
    correlation: float | None = None


@dataclass(frozen=True)
class KeptEdges:
    """What a search of edges kept."""

    edges: EdgeBehaviour
    mask: Mask
    trials: list[tuple[Trial, bool]]
    guesses: Tensor | None
    correlation: float | None = None


def kept_nodes(context: Context, stage: Stage) -> Generator[Event, None, Kept]:
    """The nodes that a search keeps."""
    from ...circuits import finder
    from ...circuits.attribution import attribution, correlation, exact

    params, behaviour = context.manifest.params, stage.behaviour
    if params.method == "acdc":
        return Kept(*(yield from _nodes(context, stage, behaviour.nodes, "steps")), {})
    yield Phase("attributing", params.method)
    scores = attribution(behaviour, params.method, steps=params.steps)
    candidates = finder.nodes_worth_trying(behaviour, scores, params.threshold)
    agreement: float | None = None
    if stage.reported:
        sample = sampled(behaviour.nodes, scores, SAMPLE, context.manifest.seed)
        agreement = correlation([scores[node] for node in sample], list(exact(behaviour, sample).values()))
    return Kept(*(yield from _nodes(context, stage, candidates, "steps")), scores, agreement)


def kept_edges(context: Context, stage: Stage) -> Generator[Event, None, KeptEdges]:
    """The edges that a search keeps."""
    from ...circuits import finder
    from ...circuits.acdc import without_orphans
    from ...circuits.attribution import correlation
    from ...circuits.edges import EdgeBehaviour

    params = context.manifest.params
    edges = EdgeBehaviour(stage.behaviour)
    finder.check_behaviour(edges)
    guesses, agreement = None, None
    if params.method != "acdc":
        guesses = yield from attributed(context, edges)
        wanted = finder.edges_worth_trying(edges, guesses, params.threshold, params.most_edges)
        if stage.reported:
            scored = dict(zip(edges.graph.edges(edges.graph.valid), guesses[edges.graph.valid].tolist(), strict=True))
            chosen = sampled(list(scored), scored, SAMPLE, context.manifest.seed)
            yield Phase("holding estimates against cutting", f"{len(chosen)} edges alone")
            agreement = correlation([scored[edge] for edge in chosen], edges.alone(chosen))
    elif params.scope == "nodes":
        nodes, _, _ = yield from _nodes(context, stage, stage.behaviour.nodes, "nodes")
        wanted = edges.graph.between(nodes)
    else:
        wanted = edges.graph.valid
    kept, tried = yield from _edges(context, stage, edges, wanted)
    return KeptEdges(edges, without_orphans(edges, kept), tried, guesses, agreement)


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
    attributions, began = [], time.monotonic()
    for done in range(1, total + 1):
        wait_while_paused(context)
        attributions.append(attribution_of(edges.single(done - 1), params.method, steps=params.steps))
        yield Progress(done, total, "pairs", (time.monotonic() - began) / done * (total - done))
    return sum(attributions[1:], attributions[0]) / total


def _nodes(
    context: Context, stage: Stage, candidates: Sequence[Node], name: str
) -> Generator[Event, None, tuple[list[Node], list[Trial], list[bool]]]:
    from ...circuits.acdc_nodes import NodeSearch
    from ...circuits.nodes import node_name

    behaviour = stage.behaviour
    if stage.reported:
        yield Phase("ablating", f"{len(candidates)} nodes")
    going = NodeSearch(behaviour, candidates, context.manifest.params.threshold)
    trials: list[Trial] = []

    def say(index: int, node: Node, numbers: Numbers) -> list[Event]:
        tried = _trial(numbers)
        stays = going.decide(tried)
        trials.append(tried)
        if not stage.reported:
            return []
        cell = CircuitCell(
            node=node_name(node),
            layer=node.layer,
            head=node.head,
            loss=tried.loss,
            kept=stays,
            faithfulness=going.faithfulness,
            clean_metric=behaviour.whole,
            empty_metric=behaviour.empty,
        )
        headline = CircuitHeadline(nodes=len(going.kept), faithfulness=going.faithfulness)
        return [Metrics("cells", index, cell.as_json()), Metrics("headline", index, headline.as_json())]

    yield from Steps(context, going.order, unit="nodes", size=lambda _: 1, name=stage.name + name).run(
        lambda _: _numbers(going.try_next()), say
    )
    return going.nodes, trials, going.stayed


def _edges(
    context: Context, stage: Stage, edges: EdgeBehaviour, candidates: Mask
) -> Generator[Event, None, tuple[Mask, list[tuple[Trial, bool]]]]:
    from ...circuits.acdc import EdgeSearch
    from .params import MANY_EDGES

    going = EdgeSearch(edges, candidates, context.manifest.params.threshold)
    if stage.reported:
        yield Phase("cutting", f"{len(going.order):,} edges")
    if stage.reported and len(going.order) > MANY_EDGES:
        message = f"{len(going.order):,} edges are to be cut one after another, which may take hours"
        yield Warned(
            f"{message}; method = 'eap_ig' would cut the most_edges strongest, scope = 'nodes' those between the nodes that matter"
        )
    tried: list[tuple[Trial, bool]] = []
    width = 1 + 2 * edges.examples

    def do(block: range) -> Numbers:
        block_numbers = np.full((len(block), width), np.nan, np.float32)
        for row in block_numbers:
            if (trial := going.try_next()) is not None:
                row[:] = _numbers(trial)
            going.decide(trial)
        return block_numbers.ravel()

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
            cell = CircuitCell(
                edge=going.order[at].name,
                loss=trial.loss,
                kept=going.stayed[at],
                faithfulness=after,
                clean_metric=edges.whole,
                empty_metric=edges.empty,
            )
            events.append(Metrics("cells", START + at, cell.as_json()))
        if not stage.reported:
            return []
        kept = sum(stays for _, stays in tried)
        headline = CircuitHeadline(edges=kept, faithfulness=edges.share(float(going.now.mean())))
        return [*events, Metrics("headline", START + index, headline.as_json())]

    yield from Steps(context, going.blocks, unit="edges", size=len, name=f"{stage.name}edges").run(do, say)
    return going.kept, tried


def _numbers(trial: Trial) -> Numbers:
    return np.concatenate([np.array([trial.loss], np.float32), trial.before.numpy(), trial.after.numpy()])


def _trial(numbers: Numbers) -> Trial:
    import torch

    from ...circuits.trial import Trial

    before, after = torch.tensor(numbers[1:]).chunk(2)
    return Trial(float(numbers[0]), before, after)
