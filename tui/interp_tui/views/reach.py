"""Whether the pairs of a patching run ask anything, from its result: the metric at both ends, its control, pairs that disagree."""

from __future__ import annotations

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact
from interp_tui_engine.results.reach import Reach

MOST = 8
"""Numbers of pairs that are listed."""


def reach_facts(reach: Reach) -> list[Fact]:
    """How far the ends lie apart, and what is wrong with that; none where nothing is known of it."""
    mean, facts = reach.mean, []
    if reach.unrelated is not None and reach.p is not None:
        reached = f"{number(mean, 4)}; of unrelated answers {number(reach.unrelated, 3)}, p = {number(reach.p, 2)}"
        facts.append(Fact("reach", reached))
    if mean is not None and mean < 0:
        facts.append(Fact("warning", "the metric runs the wrong way: are answer and counterfactual swapped?", "bad"))
    elif reach.clear is False:
        facts.append(Fact("warning", "unrelated answers reach as far: shares of it say nothing", "bad"))
    for pairs, sign in ((reach.opposed, "pairs that go the other way"), (reach.unclear, "pairs not clear of unrelated answers")):
        if pairs and (mean or 0) > 0 and reach.clear is not False:
            named = ", ".join(clean(str(pair), limit=8) for pair in pairs[:MOST]) + (" …" if len(pairs) > MOST else "")
            facts.append(Fact(sign, named, "bad"))
    return facts


def warning_facts(state: RunState) -> list[Fact]:
    """The newest warning of a run, on a line of its own."""
    return [Fact("warning ", clean(state.warnings[-1], limit=300), "warn", alone=True)] if state.warnings else []
