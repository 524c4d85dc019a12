"""How the result of a causal trace reads, and the strip from its corrupt metric to its clean one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from interp_tui.text.numbers import number
from interp_tui.widgets.facts import Fact, column
from interp_tui_engine.payload import read
from interp_tui_engine.results.causal_trace import CausalTraceResult

from .base import scalars
from .reach import reach_facts
from .recovery_cells import token_labels


def result_text(result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The numbers of a result: both ends of the metric, what restores most, and the heads."""
    stored = read(CausalTraceResult, result)
    if not stored.recovery:
        return scalars(result, colours, ascii=ascii)
    facts = [Fact("metric", number(stored.metric)), Fact("clean metric", number(stored.clean_metric))]
    facts += [Fact("corrupt metric", number(stored.corrupt_metric)), Fact("pairs", number(stored.pairs))]
    facts += reach_facts(stored.reach)
    peak = stored.peak
    where = f"{number(peak.site)} of layer {number(peak.layer)} at ‘{''.join(token_labels([peak.token]))}’"
    facts.append(Fact("restores most", f"{where}, recovery {number(peak.recovery, 3)}", "accent"))
    if (held := stored.peak_held_out) is not None:
        facts.append(Fact("on pairs that did not choose it", f"recovery {number(held.recovery, 3)}"))
    for index, head in enumerate(stored.top_heads[:5]):
        said = f"{number(head.head)} at ‘{''.join(token_labels([head.token]))}’  {number(head.recovery, 3)}"
        facts.append(Fact("heads" if not index else " ", said))
    return column(facts, colours)


def strip(recovery: float, width: int, *, ascii: bool) -> str:
    """Where between corrupt (left) and clean (right) a patched run is; beyond the ends it points out of them."""
    line, mark = ("-", "o") if ascii else ("─", "●")
    if recovery < -0.05 or recovery > 1.05:
        out = ("<", ">") if ascii else ("◀", "▶")
        return out[0] + line * (width - 1) if recovery < 0 else line * (width - 1) + out[1]
    at = round(min(max(recovery, 0.0), 1.0) * (width - 1))
    return line * at + mark + line * (width - 1 - at)
