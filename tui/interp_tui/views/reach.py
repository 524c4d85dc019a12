"""Whether the pairs of a patching run ask anything, from its result: the metric at both ends, its control, pairs that disagree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact
from interp_tui_engine.numbers import as_finite as finite

MOST = 8
"""Numbers of pairs that are listed."""


def reach_facts(result: Mapping[str, Any]) -> list[Fact]:
    """Facts of the result's "reach"; none where it has none."""
    reach = result.get("reach")
    if not isinstance(reach, Mapping):
        return []
    mean, unrelated, p = (finite(reach.get(name)) for name in ("mean", "unrelated", "p"))
    facts = []
    if unrelated is not None and p is not None:
        facts.append(Fact("reach", f"{number(mean, 4)}; of unrelated answers {number(unrelated, 3)}, p = {number(p, 2)}"))
    if mean is not None and mean < 0:
        facts.append(Fact("warning", "the metric runs the wrong way: are answer and counterfactual swapped?", "bad"))
    elif reach.get("clear") is False:
        facts.append(Fact("warning", "unrelated answers reach as far: shares of it say nothing", "bad"))
    for key, said in (("opposed", "go the other way"), ("unclear", "not clear of unrelated answers")):
        pairs = reach.get(key)
        if isinstance(pairs, list) and pairs and (mean or 0) > 0 and reach.get("clear") is not False:
            named = ", ".join(clean(str(pair), limit=8) for pair in pairs[:MOST]) + (" …" if len(pairs) > MOST else "")
            facts.append(Fact(f"pairs that {said}" if key == "opposed" else f"pairs {said}", named, "bad"))
    return facts


def warning_facts(state: RunState) -> list[Fact]:
    """The newest warning of a run, on a line of its own."""
    return [Fact("warning ", clean(state.warnings[-1], limit=300), "warn", alone=True)] if state.warnings else []
