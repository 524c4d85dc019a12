"""A circuit from pairs to what is known of it: found, measured, held against random ones, and found again on halves of the pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...events import Event, Phase, Progress, Warned
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from .one_search import Stage, kept_edges, kept_nodes

if TYPE_CHECKING:
    from ...circuits.circuit import Circuit, Measuring
    from ...circuits.graph import Edge
    from ...circuits.nodes import Behaviour
    from ...circuits.prepared import Node
    from ...circuits.trial import Trial
    from ...circuits.validation import HeldOut, Measured, Random
    from .params import Params


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


def search(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    """Find the circuit of the level that is asked for, and again on each half of the pairs."""
    params: Params = context.manifest.params
    return (yield from (_search_nodes if params.level == "node" else _search_edges)(context, behaviour))


def _search_nodes(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    from ...circuits import validation
    from ...circuits.circuit import circuit_of_nodes

    kept = yield from kept_nodes(context, Stage(behaviour))
    circuit = yield from _measured(context, circuit_of_nodes(behaviour, kept.nodes, kept.scores), f"{len(kept.nodes)} nodes")
    random = yield from _random(context, validation.random_nodes(behaviour, kept.nodes, context.manifest.seed))

    def again(stage: Stage, other: Behaviour) -> Generator[Event, None, tuple[set[Node], Measured]]:
        half = yield from kept_nodes(context, stage)
        return set(half.nodes), validation.gains(other, half.nodes)

    held_out = yield from _on_halves(context, behaviour, again)
    resampled = _resampled(context, kept.trials, kept.stayed, behaviour.per_example(()) - behaviour.per_example(behaviour.nodes))
    return Found(circuit, resampled, len(behaviour.nodes), len(kept.trials), kept.correlation, random, held_out)


def _search_edges(context: Context, behaviour: Behaviour) -> Generator[Event, None, Found]:
    from ...circuits import validation
    from ...circuits.circuit import circuit_of_edges
    from ...circuits.edges import EdgeBehaviour

    kept = yield from kept_edges(context, Stage(behaviour))
    edges = kept.edges
    parts = f"{int(kept.mask.sum())} edges, and their nodes"
    circuit = yield from _measured(context, circuit_of_edges(edges, kept.mask, kept.guesses), parts)
    random = yield from _random(context, validation.random_edges(edges, circuit.nodes, kept.mask, context.manifest.seed))
    reach, considered = behaviour.per_example(()) - edges.empties, int(edges.graph.valid.sum())
    resampled = _resampled(context, [trial for trial, _ in kept.trials], [stays for _, stays in kept.trials], reach)

    def again(stage: Stage, other: Behaviour) -> Generator[Event, None, tuple[set[Edge], Measured]]:
        half = yield from kept_edges(context, stage)
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
    again: Callable[[Stage, Behaviour], Generator[Event, None, tuple[set[Any], Measured]]],
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
        stage = Stage(behaviour.subset(own), f"half{index}-", reported=False)
        try:
            finder.check_behaviour(stage.behaviour)
            circuits.append((yield from again(stage, behaviour.subset(other))))
        except UserError as error:
            yield Warned(f"no circuit could be found on half of the pairs: {error.what}")
            return None
    return validation.held_out((circuits[0][0], circuits[1][0]), [measured for _, measured in circuits])


def _resampled(context: Context, trials: Sequence[Trial], stayed: Sequence[bool], reach: Any) -> float | None:
    from ...circuits.trial import stability

    params: Params = context.manifest.params
    return stability(trials, stayed, reach, params.threshold, resamples=params.resamples, seed=context.manifest.seed)
