"""What a run says of its circuit: how far it holds beyond its pairs, and the report. Torch-free at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...patching import reach_report
from ...results.circuit import CircuitHeldOut, CircuitResult, RandomCircuits
from ...uncertainty import Uncertainty, none_known

if TYPE_CHECKING:
    from ...circuits.validation import HeldOut, Random
    from ...patching.reach_report import Reaches
    from .params import Params
    from .search import Found

LEVEL = 0.05


def held_out(measured: HeldOut | None) -> CircuitHeldOut | None:
    """Faithfulness on the pairs that a circuit was not found on, for result.json."""
    if measured is None:
        return None
    share = measured.share
    return CircuitHeldOut(
        faithfulness=share.value,
        std_error=share.std_error,
        low=share.low,
        high=share.high,
        each=tuple(measured.each),
        parts=tuple(measured.sizes),
    )


def random_circuits(random: Random) -> RandomCircuits:
    """The control, for result.json."""
    return RandomCircuits(faithfulness=tuple(random.faithfulness), mean=random.mean, max=max(random.faithfulness))


def uncertainty(search: Found, reaches: Reaches) -> dict[str, Uncertainty]:
    """Error bars of the headline, beside random circuits."""
    circuit, random, pairs = search.circuit, search.random, len(reaches.each)
    why = not_known(pairs)
    bars = {
        "faithfulness": Uncertainty(
            control=random.mean,
            clear=random.p(circuit.faithfulness) <= LEVEL and reaches.clear is not False,
            note="on the pairs it was found on" if search.held_out is not None else f"on the pairs it was found on; on others {why}",
        ),
        "completeness": none_known("on the pairs it was found on"),
        "reach.mean": reaches.uncertainty(),
    }
    if search.held_out is None:
        return bars | {"stability": none_known(why)}
    share, over = search.held_out.share, f"{pairs} pairs, each by the circuit of the other half"
    clear = share.clear_of(random.mean, random.p(share.value) <= LEVEL and reaches.clear is not False)
    bars["held_out.faithfulness"] = bars["held_out"] = share.uncertainty(over, control=random.mean, clear=clear)
    return bars | {"stability": none_known("one split into halves")}


def not_known(pairs: int) -> str:
    """Why nothing is known of other pairs."""
    return "not known: one pair" if pairs == 1 else "not known: halves of the pairs were not searched"


def report(params: Params, values: CircuitResult, reaches: Reaches) -> str:
    """report.md."""
    trust = values.correlation
    guessed = f" Estimates correlate with cutting single {params.level}s at r = {trust:.2f}." if trust is not None else ""
    edges = f" and {len(values.edges)} edges" if params.level == "edge" else ""
    lines = [
        "# Circuit",
        "",
        f"**{len(values.nodes)} nodes{edges}**: faithfulness {values.faithfulness:.3f}, completeness {values.completeness:.3f}, "
        f"minimality {values.minimality:.3f}, on the pairs it was found on.",
        "",
        *_beyond(values),
        "",
        f"With nothing ablated and with everything ({params.ablation} ablation), " + reach_report.lines(reaches)[0],
        *reach_report.lines(reaches)[1:],
        "",
        f"Of {values.parts:,} {params.level}s {values.tried:,} were tried, and one stays if the circuit changes by "
        f"{params.threshold:.1%} of the difference without it.{guessed}",
        "",
        "![the circuit](figures/circuit.svg)",
        "",
        "[The same as a page](figures/circuit.html), where pointing at an edge names it.",
        "",
        "| node | lost without it | is a | previous | duplicate | induction | copying |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for node in sorted(values.nodes, key=lambda node: -abs(node.effect or 0.0)):
        cells = " | ".join(f"{score:.2f}" for score in node.scores.values()) if node.scores else " |  |  | "
        lines.append(f"| {node.name} | {node.effect:+.3f} | {node.role or ''} | {cells} |")
    if values.edges:
        guessed_too = any(edge.estimate is not None for edge in values.edges)
        lines += [
            "",
            "| edge | lost without it |" + (" estimate |" if guessed_too else ""),
            "|---|---:|" + ("---:|" if guessed_too else ""),
        ]
        for edge in values.edges:
            guess = ("" if edge.estimate is None else f" {edge.estimate:+.3f}") + " |"
            lines.append(f"| {edge.name} | {edge.effect:+.3f} |" + (guess if guessed_too else ""))
    return "\n".join([*lines, ""])


def _beyond(values: CircuitResult) -> list[str]:
    """How the circuit stands on pairs it was not found on, beside random ones, and how far it is the same on both halves."""
    held, random, pairs = values.held_out, values.random, values.pairs or 0
    lines = []
    if held is None:
        lines.append(f"- faithfulness on other pairs, and stability: {not_known(pairs)}")
    else:
        bar = "" if held.low is None else f" (95 % {held.low:.3f} … {held.high:.3f} over {pairs} pairs)"
        each = " and ".join(f"{value:.3f}" for value in held.each)
        lines.append(f"- found on one half of the pairs and measured on the other: faithfulness **{held.faithfulness:.3f}**{bar}; {each}")
        sizes = " and ".join(str(size) for size in held.parts)
        overlap = "not known: both are empty" if values.stability is None else f"{values.stability:.2f}"
        lines.append(f"- stability, the overlap (Jaccard) of the circuits of both halves, of {sizes} parts: {overlap}")
    lines.append(
        f"- {len(random.faithfulness)} random circuits of its size: faithfulness {random.mean:.3f} on average, {random.max:.3f} at most"
    )
    if (again := values.stability_resampled) is not None:
        lines.append(f"- the same trials on resampled pairs would keep {again:.2f} of it (Jaccard): these pairs only, their order kept")
    return lines
