"""Circuits of builtin:tiny: does the held-out interval hold what the circuit is worth on pairs that had no part in it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from interp_tui_engine.circuits.edges import EdgeBehaviour
from interp_tui_engine.circuits.finder import CircuitFinder
from interp_tui_engine.circuits.nodes import Behaviour, Example
from interp_tui_engine.circuits.ratio import halves, share_of
from interp_tui_engine.circuits.validation import Random, gains, held_out, random_edges, random_nodes
from interp_tui_engine.data.facts import RELATIONS, Relation
from interp_tui_engine.sites.answers import Answer

from .outcome import Outcome
from .pairs import drawn_pairs, model, token

PAIRS = 8
THRESHOLD = 0.02


def behaviour_of(relation: Relation, pairs: Sequence[tuple[str, str]]) -> Behaviour:
    """The pairs' behaviour under interchange."""
    loaded, site_map = model()
    examples = []
    for pair in pairs:
        clean, corrupt = (tuple(loaded.tokenizer(relation.prompt.format(s=subject)).input_ids) for subject in pair)
        right, wrong = (token(relation.answers[subject]) for subject in pair)
        examples.append(Example(clean, corrupt, Answer((right,), (wrong,))))
    return Behaviour(site_map, examples, "logit_diff", "interchange")


def trial(relation: Relation, seed: int, *, edges: bool) -> tuple[bool, bool, bool, float, float]:
    """Whether the interval holds the halves' circuits' worth on new pairs, and the whole circuit's; whether a random circuit is called
    clear; the whole circuit's faithfulness on its own pairs and on new ones."""
    draw = np.random.default_rng(seed)
    subjects = [subject for subject in relation.answers if len(model()[0].tokenizer(f" {subject}").input_ids) == 1]
    shuffled = Relation(relation.name, relation.prompt, relation.templates, {s: relation.answers[s] for s in draw.permutation(subjects)})
    own, new = (Relation(**{**vars(shuffled), "answers": dict(part)}) for part in _cut(list(shuffled.answers.items())))
    behaviour, fresh = behaviour_of(own, drawn_pairs(own, PAIRS, draw)), behaviour_of(new, drawn_pairs(new, 24, draw))
    finder = CircuitFinder(model()[0], THRESHOLD, method="eap_ig")

    def found(some: Behaviour):  # type: ignore[no-untyped-def]
        circuit = finder.find(some, with_edges=edges)
        if not edges:
            return circuit.nodes, set(circuit.nodes), circuit
        return EdgeBehaviour(some).graph.mask(circuit.edges), set(circuit.edges), circuit

    def measured(circuit, some: Behaviour):  # type: ignore[no-untyped-def]
        return gains(EdgeBehaviour(some) if edges else some, circuit)

    whole, _, circuit = found(behaviour)
    on_new = share_of(*measured(whole, fresh)).value
    split = halves(PAIRS, seed)
    each = [found(behaviour.subset(part)) for part in split]
    result = held_out((each[0][1], each[1][1]), [measured(each[i][0], behaviour.subset(split[1 - i])) for i in (0, 1)])
    truth = float(np.mean([share_of(*measured(half[0], fresh)).value for half in each]))
    assert result.share.low is not None and result.share.high is not None
    one = EdgeBehaviour(behaviour) if edges else behaviour
    args = (circuit.nodes, whole) if edges else (circuit.nodes,)
    draw_random = random_edges if edges else random_nodes
    control, again = (Random(tuple(draw_random(one, *args, number))) for number in (seed, seed + 10_000))  # type: ignore[operator]
    low, high = result.share.low, result.share.high
    return low <= truth <= high, low <= on_new <= high, control.p(again.faithfulness[0]) <= 0.05, circuit.faithfulness, on_new


def _cut(items: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return items[: len(items) // 2], items[len(items) // 2 :]


def outcomes(quick: bool) -> Iterator[Outcome]:
    plan = [(True, "capital", 8)] if quick else [(edges, name, 80) for edges in (True, False) for name in ("capital", "symbol")]
    for edges, name, trials in plan:
        relation = next(relation for relation in RELATIONS if relation.name == name)
        rows = [trial(relation, seed, edges=edges) for seed in range(trials)]
        halves_held, whole_held, chance = (sum(row[i] for row in rows) for i in range(3))
        own, new = (float(np.mean([row[i] for row in rows])) for i in (3, 4))
        case = f"{'edges' if edges else 'nodes'} of {name}, {PAIRS} pairs"
        note = f"the whole circuit: {own:.2f} on its own pairs, {new:.2f} on new ones, in the interval in {whole_held} of {trials}"
        yield Outcome("circuit", "coverage", f"{case}: held-out faithfulness of the halves on new pairs", halves_held, trials, 0.95, note)
        yield Outcome("circuit", "false positives", f"{case}: a random circuit beats 20 random ones", chance, trials, 0.05)
