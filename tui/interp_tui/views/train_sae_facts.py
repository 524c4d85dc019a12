"""What a train_sae run's numbers say, as plain values for its view. Headless."""

from __future__ import annotations

from dataclasses import dataclass

from interp_tui.runs.runstate import RunState
from interp_tui.terminal.host import size
from interp_tui.text.numbers import BLOCKS, number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact
from interp_tui.widgets.histogram import Histogram
from interp_tui.widgets.list_table import Cell, Column, Row
from interp_tui_engine.payload import read
from interp_tui_engine.results.train_sae import FiringHistograms, FiringRates, InTraining, LossInTraining, Training, TrainSAEHeadline

MANY_DEAD, SOME_DEAD = 0.3, 0.05
GOOD_RECOVERY = 0.95
MOST = 32
"""Dictionaries that are shown; as many as a run may train."""
BARS = 24
FAR = 30.0
"""log10 of a rate that no histogram reaches."""
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
    histogram = state.newest("histogram", FiringHistograms)
    names, of_each = histogram.names, []
    for index in range(MOST):
        if f"sae{index}" not in state.latest and index >= len(names):
            break
        rates = histogram.saes[index] if index < len(histogram.saes) else read(FiringRates, {})
        name = clean(names[index], limit=40) if index < len(names) else f"dictionary {index}"
        of_each.append(_sae(state, index, name, rates))
    return of_each


def _sae(state: RunState, index: int, name: str, rates: FiringRates) -> Sae:
    newest = state.newest(f"sae{index}", InTraining)
    return Sae(
        index=index,
        name=name,
        latents=rates.latents,
        fvu=newest.fvu,
        l0=newest.l0,
        dead=newest.dead_fraction,
        loss=newest.loss,
        recovered=state.newest(f"loss{index}", LossInTraining).ce_loss_recovered,
        counts=tuple(max(0, count or 0) for count in rates.counts[:200]),
        low=rates.low if rates.low is not None and abs(rates.low) < FAR else -6.0,
        high=rates.high if rates.high is not None and abs(rates.high) < FAR else 0.0,
        dead_latents=rates.dead,
    )


def facts(state: RunState, sae: Sae | None, final: TrainSAEHeadline) -> list[Fact]:
    """The numbers of one dictionary and of the run, the weightiest first; `final` is what a finished run measured on held-out data."""
    facts: list[Fact] = []
    if sae is not None:
        held = final.fvu if sae.index == 0 else None
        sparse = final.l0 if sae.index == 0 else None
        unexplained, where = (held, HELD_OUT) if held is not None else (sae.fvu, IN_TRAINING)
        facts.append(Fact("FVU", f"{number(unexplained, 3)} {where}" if unexplained is not None else number(None), loud=True))
        facts.append(Fact("L0", number(sparse if sparse is not None else sae.l0, 3), loud=True))
        facts.append(Fact("dead", percent(sae.dead), dead_colour(sae.dead)))
        recovered = final.ce_loss_recovered if sae.index == 0 else None
        recovered = recovered if recovered is not None else sae.recovered
        if recovered is not None:
            facts.append(Fact("recovered", percent(recovered), "good" if recovered >= GOOD_RECOVERY else ""))
    training = state.newest("training", Training)
    if training.tokens_per_second is not None:
        facts.append(Fact("speed", f"{training.tokens_per_second:,.0f} tok/s"))
    if training.tokens is not None:
        facts.append(Fact("tokens", f"{training.tokens:,}", roomy=True))
    if training.lr is not None:
        facts.append(Fact("lr", number(training.lr, 3), roomy=True))
    for label, used in (("memory", training.memory_bytes), ("on device", training.device_memory_bytes)):
        if used is not None:
            facts.append(Fact(label, size(used), roomy=True))
    if state.warnings:
        facts.append(Fact("warning", clean(state.warnings[-1], limit=200), "warn", alone=True))
    return facts


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
