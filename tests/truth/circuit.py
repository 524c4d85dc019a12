"""Circuits of builtin:tiny: does the held-out interval hold what the circuit is worth on pairs that had no part in it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from scipy.special import stdtrit

from interp_tui_engine.circuits.edges import EdgeBehaviour
from interp_tui_engine.circuits.finder import CircuitFinder
from interp_tui_engine.circuits.nodes import Behaviour
from interp_tui_engine.circuits.prepared import Example
from interp_tui_engine.circuits.ratio import halves, share_of
from interp_tui_engine.circuits.validation import Random, gains, held_out, random_edges, random_nodes
from interp_tui_engine.data.facts import RELATIONS, Relation
from interp_tui_engine.sites.answers import Answer

from . import record
from .outcome import Outcome
from .pairs import drawn_pairs, model, token

PAIRS, NEW_PAIRS = 8, 48
CODE = ("circuits",)
"""Folders of the engine that the numbers follow from, for a record."""
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


def trial(relation: Relation, edges: bool, seed: int) -> dict[str, float]:
    """What one draw of pairs gives: the held-out faithfulness of the halves' circuits with its error, and what they are worth on new
    pairs, of subjects that had no part in it; the whole circuit's faithfulness on its own pairs and on new ones; whether a random circuit
    is called better than others."""
    draw = np.random.default_rng(seed)
    subjects = [subject for subject in relation.answers if len(model()[0].tokenizer(f" {subject}").input_ids) == 1]
    shuffled = Relation(relation.name, relation.prompt, relation.templates, {s: relation.answers[s] for s in draw.permutation(subjects)})
    own, new = (Relation(**{**vars(shuffled), "answers": dict(part)}) for part in _cut(list(shuffled.answers.items())))
    behaviour, fresh = behaviour_of(own, drawn_pairs(own, PAIRS, draw)), behaviour_of(new, drawn_pairs(new, NEW_PAIRS, draw))
    finder = CircuitFinder(model()[0], THRESHOLD, method="eap_ig")

    def found(some: Behaviour):  # type: ignore[no-untyped-def]
        circuit = finder.find(some, with_edges=edges)
        if not edges:
            return circuit.nodes, set(circuit.nodes), circuit
        return EdgeBehaviour(some).graph.mask(circuit.edges), set(circuit.edges), circuit

    def measured(circuit, some: Behaviour):  # type: ignore[no-untyped-def]
        return gains(EdgeBehaviour(some) if edges else some, circuit)

    whole, _, circuit = found(behaviour)
    split = halves(PAIRS, seed)
    each = [found(behaviour.subset(part)) for part in split]
    result = held_out((each[0][1], each[1][1]), [measured(each[i][0], behaviour.subset(split[1 - i])) for i in (0, 1)])
    first, second = (measured(half[0], fresh) for half in each)
    truth = share_of((first.gain + second.gain) / 2, first.reach, first.prompts)
    one = EdgeBehaviour(behaviour) if edges else behaviour
    args = (circuit.nodes, whole) if edges else (circuit.nodes,)
    draw_random = random_edges if edges else random_nodes
    control, again = (Random(tuple(draw_random(one, *args, number))) for number in (seed, seed + 10_000))  # type: ignore[operator]
    assert result.share.std_error is not None and truth.std_error is not None
    return {
        "held_out": result.share.value,
        "error": result.share.std_error,
        "truth": truth.value,
        "truth_error": truth.std_error,
        "own": circuit.faithfulness,
        "new": share_of(*measured(whole, fresh)).value,
        "chance": float(control.p(again.faithfulness[0]) <= 0.05),
    }


def _cut(items: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return items[: len(items) // 2], items[len(items) // 2 :]


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage of the held-out interval, the truth's own error allowed for; false positives of the comparison with random circuits."""
    torch.set_num_threads(1)
    plan = [(True, "capital", 8)] if quick else [(edges, name, 40) for edges in (True, False) for name in ("capital", "symbol")]
    for edges, name, trials in plan:
        relation = next(relation for relation in RELATIONS if relation.name == name)
        case = f"{'edges' if edges else 'nodes'} of {name}, {PAIRS} pairs"
        rows = record.each(f"circuit, {case}", range(trials), partial(trial, relation, edges), CODE)
        column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        away = column["held_out"] - column["truth"]
        wide = float(stdtrit(PAIRS - 1, 0.975))
        both = np.hypot(column["error"], column["truth_error"])
        bare = int((np.abs(away) <= wide * column["error"]).sum())
        note = (
            f"{bare} without the truth's error; off by {away.mean():+.3f} on average, spread {away.std(ddof=1):.3f}, "
            f"stated {both.mean():.3f}; "
            f"the whole circuit: {column['own'].mean():.2f} on its own pairs, {column['new'].mean():.2f} on new ones"
        )
        held = int((np.abs(away) <= wide * both).sum())
        yield Outcome("circuit", "coverage", f"{case}: held-out faithfulness of the halves on new pairs", held, trials, 0.95, note)
        chance = int(column["chance"].sum())
        yield Outcome("circuit", "false positives", f"{case}: a random circuit beats 20 random ones", chance, trials, 0.05)
