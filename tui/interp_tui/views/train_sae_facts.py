"""What a train_sae run's numbers say, as plain values for its view. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interp_tui.runs.runstate import RunState
from interp_tui.terminal.host import size
from interp_tui.text.numbers import BLOCKS, number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact
from interp_tui.widgets.histogram import Histogram
from interp_tui.widgets.list_table import Cell, Column, Row
from interp_tui_engine.numbers import as_finite as finite

MANY_DEAD, SOME_DEAD = 0.3, 0.05
GOOD_RECOVERY = 0.95
MOST = 32
"""Dictionaries that are shown; as many as a run may train."""
BARS = 24
HELD_OUT, IN_TRAINING = "held out", "in training"
"""What an FVU was measured on: activations that training never saw, or the latest ones that it did."""

COLUMNS = (
    Column("dictionary", 18, grow=2, most=40),
    Column("latents", 7, right=True, drop=2),
    Column("train FVU", 9, right=True),
    Column("L0", 6, right=True),
    Column("dead", 7, right=True),
    Column("recovered", 9, right=True, drop=1),
    Column("fires 1e-6 … always", BARS, drop=3),
)


@dataclass(frozen=True)
class Sae:
    """The newest numbers of one dictionary; None where the run has not said."""

    index: int
    name: str
    latents: int | None
    fvu: float | None
    l0: float | None
    dead: float | None
    loss: float | None
    recovered: float | None
    counts: tuple[int, ...]
    low: float
    high: float
    dead_latents: int | None


def saes(state: RunState) -> list[Sae]:
    """Every dictionary heard of, in order. Takes whatever a log holds."""
    said = state.latest.get("histogram", {})
    names, shapes = said.get("names"), said.get("saes")
    names = names if isinstance(names, list) else []
    shapes = shapes if isinstance(shapes, list) else []
    found = []
    for index in range(MOST):
        if f"sae{index}" not in state.latest and index >= len(names):
            break
        shape = shapes[index] if index < len(shapes) and isinstance(shapes[index], Mapping) else {}
        name = clean(str(names[index]), limit=40) if index < len(names) else f"dictionary {index}"
        found.append(_sae(state, index, name, shape))
    return found


def _sae(state: RunState, index: int, name: str, shape: Mapping[str, Any]) -> Sae:
    def of(key: str) -> float | None:
        return state.value(f"sae{index}", key)

    counts = shape.get("counts")
    low, high = finite(shape.get("low")), finite(shape.get("high"))
    return Sae(
        index=index,
        name=name,
        latents=_count(shape.get("latents")),
        fvu=of("fvu"),
        l0=of("l0"),
        dead=of("dead_fraction"),
        loss=of("loss"),
        recovered=state.value(f"loss{index}", "ce_loss_recovered"),
        counts=tuple(_count(value) or 0 for value in counts[:200]) if isinstance(counts, list) else (),
        low=low if low is not None else -6.0,
        high=high if high is not None else 0.0,
        dead_latents=_count(shape.get("dead")),
    )


def facts(state: RunState, sae: Sae | None, final: Mapping[str, Any]) -> list[Fact]:
    """The numbers of one dictionary and of the run, the weightiest first; `final` is what a finished run measured on held-out data."""
    found: list[Fact] = []
    if sae is not None:
        held = finite(final.get("fvu")) if sae.index == 0 else None
        sparse = finite(final.get("l0")) if sae.index == 0 else None
        unexplained, where = (held, HELD_OUT) if held is not None else (sae.fvu, IN_TRAINING)
        found.append(Fact("FVU", f"{number(unexplained, 3)} {where}" if unexplained is not None else number(None), loud=True))
        found.append(Fact("L0", number(sparse if sparse is not None else sae.l0, 3), loud=True))
        found.append(Fact("dead", percent(sae.dead), dead_colour(sae.dead)))
        recovered = finite(final.get("ce_loss_recovered")) if sae.index == 0 else None
        recovered = recovered if recovered is not None else sae.recovered
        if recovered is not None:
            found.append(Fact("recovered", percent(recovered), "good" if recovered >= GOOD_RECOVERY else ""))
    speed, tokens = state.value("training", "tokens_per_second"), state.value("training", "tokens")
    if speed is not None:
        found.append(Fact("speed", f"{speed:,.0f} tok/s"))
    if tokens is not None:
        found.append(Fact("tokens", f"{tokens:,.0f}", roomy=True))
    if (rate := state.value("training", "lr")) is not None:
        found.append(Fact("lr", number(rate, 3), roomy=True))
    for name, label in (("memory_bytes", "memory"), ("device_memory_bytes", "on device")):
        if (used := state.value("training", name)) is not None:
            found.append(Fact(label, size(used), roomy=True))
    if state.warnings:
        found.append(Fact("warning", clean(state.warnings[-1], limit=200), "warn", alone=True))
    return found


def row(sae: Sae, *, ascii: bool, coloured: bool) -> Row:
    """One dictionary as a table row; its name in the colour of its curve where there are several."""
    return Row(
        str(sae.index),
        (
            Cell(sae.name, f"chain-{sae.index % 8}" if coloured else "foreground"),
            Cell(number(sae.latents)),
            Cell(number(sae.fvu, 3)),
            Cell(number(sae.l0, 3)),
            Cell(percent(sae.dead), dead_colour(sae.dead) or "foreground"),
            Cell(percent(sae.recovered), "good" if (sae.recovered or 0) >= GOOD_RECOVERY else "foreground"),
            Cell(small_histogram(sae.counts, ascii=ascii), "accent"),
        ),
    )


def histogram(sae: Sae | None) -> Histogram | None:
    """How often the dictionary's latents fire, with decades as ticks."""
    if sae is None or not sae.counts or not any(sae.counts):
        return None
    decades = range(round(sae.low), round(sae.high) + 1)
    return Histogram(sae.counts, sae.low, sae.high, [(float(d), "always" if d == 0 else f"1e{d}") for d in decades])


def histogram_title(sae: Sae | None) -> str:
    """What the bars show, and how many latents are in none of them."""
    if sae is None or not sae.counts:
        return ""
    dead = f" · {sae.dead_latents:,} of {sae.latents:,} dead" if sae.dead_latents is not None and sae.latents is not None else ""
    return f"latents by share of tokens they fire on: {sae.name}{dead}"


def small_histogram(counts: tuple[int, ...], *, ascii: bool) -> str:
    """The counts as one line; a bin that is not empty is seen."""
    if not counts or not any(counts):
        return ""
    blocks = "_.-=+*#@" if ascii else BLOCKS
    top = max(counts)
    return "".join(" " if count <= 0 else blocks[min(7, count * 8 // (top + 1))] for count in counts)


def percent(share: float | None) -> str:
    """`0.976` as `97.6 %`."""
    return f"{share:.1%}".replace("%", " %") if share is not None else "—"


def dead_colour(share: float | None) -> str:
    """The theme variable for so many dead latents."""
    if share is None or share < SOME_DEAD:
        return ""
    return "bad" if share > MANY_DEAD else "warn"


def _count(value: Any) -> int | None:
    found = finite(value)
    return max(0, int(found)) if found is not None else None
