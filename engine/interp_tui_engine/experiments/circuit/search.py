"""A circuit's search, told part by part and resumable: nodes one at a time, edges in the blocks that are tried together."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...errors import UserError
from ...events import Event, Metrics, Phase, Progress, Warned
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...runtime.steps import Numbers, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from ...circuits.circuit import Circuit, Measuring
    from ...circuits.edges import EdgeBehaviour
    from ...circuits.graph import Edge, Mask
    from ...circuits.nodes import Behaviour, Node
    from ...circuits.ratio import Floats
    from ...circuits.trial import Trial
    from ...circuits.validation import HeldOut, Random
    from .params import Params


Part = TypeVar("Part", bound=Hashable)
SAMPLE = 32
"""Parts cut alone to see how far estimates can be trusted."""


@dataclass(frozen=True)
class Found:
    """A circuit, how it was come by, and how far it depends on the pairs."""

    circuit: Circuit
    resampled: float | None
    """Mean overlap with what the same trials would keep on resampled pairs."""
    considered: int
    """Parts that might have been in it."""
    tried: int
    """Parts that were cut to see what happens."""
    correlation: float | None
    """Of estimates with what cutting the part alone does, over a sample of parts; None for acdc, which estimates nothing."""
    random: Random
    held_out: HeldOut | None
    """None where the pairs have no halves, or none are wanted."""


@dataclass(frozen=True)
class Stage:
    """One search of a run: its pairs, under which name its steps are kept, and whether it is told part by part."""

    behaviour: Behaviour
    name: str = ""
    told: bool = True


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


def search(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    """Find the circuit of the level that is asked for, and again on each half of the pairs."""
    params: Params = context.manifest.params
    return (yield from (_search_nodes if params.level == "node" else _search_edges)(context, behaviour))


def _search_nodes(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    from ...circuits import validation
    from ...circuits.circuit import circuit_of_nodes

    kept = yield from _kept_nodes(context, Stage(behaviour))
    circuit = yield from _measured(context, circuit_of_nodes(behaviour, kept.nodes, kept.scores), f"{len(kept.nodes)} nodes")
    random = yield from _random(context, validation.random_nodes(behaviour, kept.nodes, context.manifest.seed))

    def again(stage: Stage, other: Behaviour) -> Generator[Event, None, tuple[set[Node], tuple[Floats, Floats]]]:
        half = yield from _kept_nodes(context, stage)
        return set(half.nodes), validation.gains(other, half.nodes)

    held_out = yield from _on_halves(context, behaviour, again)
    resampled = _resampled(context, kept.trials, kept.stayed, behaviour.per_example(()) - behaviour.per_example(behaviour.nodes))
    return Found(circuit, resampled, len(behaviour.nodes), len(kept.trials), kept.correlation, random, held_out)


def _search_edges(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    from ...circuits import validation
    from ...circuits.circuit import circuit_of_edges
    from ...circuits.edges import EdgeBehaviour

    kept = yield from _kept_edges(context, Stage(behaviour))
    edges = kept.edges
    parts = f"{int(kept.mask.sum())} edges, and their nodes"
    circuit = yield from _measured(context, circuit_of_edges(edges, kept.mask, kept.guesses), parts)
    random = yield from _random(context, validation.random_edges(edges, circuit.nodes, kept.mask, context.manifest.seed))
    reach, considered = behaviour.per_example(()) - edges.empties, int(edges.graph.valid.sum())
    resampled = _resampled(context, [trial for trial, _ in kept.trials], [stays for _, stays in kept.trials], reach)

    def again(stage: Stage, other: Behaviour) -> Generator[Event, None, tuple[set[Edge], tuple[Floats, Floats]]]:
        half = yield from _kept_edges(context, stage)
        return set(half.edges.graph.edges(half.mask)), validation.gains(EdgeBehaviour(other), half.mask)

    held_out = yield from _on_halves(context, behaviour, again)
    return Found(circuit, resampled, considered, len(kept.trials), kept.correlation, random, held_out)


def _measured(context: Context, measuring: Measuring, parts: str) -> Generator[Event, None, Circuit]:
    """The circuit, each of its parts left out in turn, and how far that is. A resumed run measures it anew."""
    yield Phase("measuring the circuit", parts)
    began = time.monotonic()
    while True:
        try:
            done, total = next(measuring)
        except StopIteration as end:
            circuit: Circuit = end.value
            return circuit
        wait_while_paused(context)
        yield Progress(done, total, "parts", (time.monotonic() - began) / done * (total - done))


def _random(context: Context, faithfulness: Iterator[float]) -> Generator[Event, None, Random]:
    """What random circuits keep, one after another."""
    from ...circuits.validation import RANDOM, Random

    yield Phase("measuring random circuits", "of as many parts")
    values: list[float] = []
    for value in faithfulness:
        wait_while_paused(context)
        values.append(value)
        yield Progress(len(values), RANDOM, "circuits", None)
    return Random(tuple(values))


def _on_halves(
    context: Context,
    behaviour: Behaviour,
    again: Callable[[Stage, Behaviour], Generator[Event, None, tuple[set[Any], tuple[Floats, Floats]]]],
) -> Generator[Event, None, HeldOut | None]:
    """Search either half of the pairs, and measure what is found on the other."""
    from ...circuits import finder, validation
    from ...circuits.ratio import halves

    count = len(behaviour.runs)
    if count < 2 or not context.manifest.params.halves:
        return None
    first, second = halves(count, context.manifest.seed)
    circuits = []
    for index, (own, other) in enumerate(((first, second), (second, first))):
        yield Phase("finding it again", f"on {len(own)} of {count} pairs, measured on the others")
        stage = Stage(behaviour.subset(own), f"half{index}-", told=False)
        try:
            finder.check_behaviour(stage.behaviour)
            circuits.append((yield from again(stage, behaviour.subset(other))))
        except UserError as error:
            yield Warned(f"no circuit could be found on half of the pairs: {error.what}")
            return None
    return validation.held_out((circuits[0][0], circuits[1][0]), [measured for _, measured in circuits])


def _kept_nodes(context: Context, stage: Stage) -> Generator[Event, None, Kept]:
    """The nodes that a search keeps."""
    from ...circuits import finder
    from ...circuits.attribution import attribution, correlation

    params, behaviour = context.manifest.params, stage.behaviour
    if params.method == "acdc":
        return Kept(*(yield from _nodes(context, stage, behaviour.nodes, "steps")), {})
    yield Phase("attributing", params.method)
    scores = attribution(behaviour, params.method, steps=params.steps)
    candidates = finder.nodes_worth_trying(behaviour, scores, params.threshold)
    agreement: float | None = None
    if stage.told:
        sample = sampled(behaviour.nodes, scores, SAMPLE, context.manifest.seed)
        agreement = correlation([scores[node] for node in sample], [behaviour.whole - behaviour.value([node]) for node in sample])
    return Kept(*(yield from _nodes(context, stage, candidates, "steps")), scores, agreement)


def _kept_edges(context: Context, stage: Stage) -> Generator[Event, None, KeptEdges]:
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
        if stage.told:
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


def _resampled(context: Context, trials: Sequence[Trial], stayed: Sequence[bool], reach: Any) -> float | None:
    from ...circuits.trial import stability

    params: Params = context.manifest.params
    return stability(trials, stayed, reach, params.threshold, resamples=params.resamples, seed=context.manifest.seed)


def _nodes(
    context: Context, stage: Stage, candidates: Sequence[Node], name: str
) -> Generator[Event, None, tuple[list[Node], list[Trial], list[bool]]]:
    from ...circuits.acdc_nodes import NodeSearch
    from ...circuits.nodes import node_name

    behaviour = stage.behaviour
    if stage.told:
        yield Phase("ablating", f"{len(candidates)} nodes")
    going = NodeSearch(behaviour, candidates, context.manifest.params.threshold)
    trials: list[Trial] = []

    def say(index: int, node: Node, numbers: Numbers) -> list[Event]:
        tried = _trial(numbers)
        stays = going.decide(tried)
        trials.append(tried)
        if not stage.told:
            return []
        part = {"node": node_name(node), "layer": node.layer, "head": node.head}
        cell = {**part, "loss": tried.loss, "kept": stays, "faithfulness": going.faithfulness, **_ends(behaviour)}
        return [Metrics("cells", index, cell), Metrics("headline", index, {"nodes": len(going.kept), "faithfulness": going.faithfulness})]

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
    if stage.told:
        yield Phase("cutting", f"{len(going.order):,} edges")
    if stage.told and len(going.order) > MANY_EDGES:
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
            cell = {"edge": going.order[at].name, "loss": trial.loss, "kept": going.stayed[at], "faithfulness": after}
            events.append(Metrics("cells", START + at, {**cell, **_ends(edges)}))
        if not stage.told:
            return []
        kept = sum(stays for _, stays in tried)
        return [*events, Metrics("headline", START + index, {"edges": kept, "faithfulness": edges.share(float(going.now.mean()))})]

    yield from Steps(context, going.blocks, unit="edges", size=len, name=f"{stage.name}edges").run(do, say)
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
