"""How a sampling run's result.json reads in its Result tab. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from interp_tui.terminal.host import duration
from interp_tui.text.ascii_words import spelled
from interp_tui.text.numbers import number, thousands, with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, column, rich_style
from interp_tui_engine.payload import read
from interp_tui_engine.results.sampling import LLCResult

from .base import scalars

SAID = frozenset(
    {"kind", "name", "schema_version", "seconds", "llc_mean", "llc_std", "llc_std_error", "llc_per_chain", "init_loss", "loss_mean"}
    | {"rhat", "ess", "healthy_chains", "failed_chains", "tokens_per_second", "verdict", "usable", "reasons", "uncertainty"}
)


def result_text(result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The estimate with its error, the diagnostics, a line for each chain, and then whatever else there is."""
    stored = read(LLCResult, result)
    text = column(facts(stored, ascii=ascii), colours)
    for why in stored.reasons[:20]:
        text.append(f"\n  - {spelled(clean(why, limit=400), ascii=ascii)}", rich_style(colours.get("muted", "")))
    rows = chain_rows(stored, ascii=ascii)
    if rows:
        text.append(f"\n\nchain  {('llc' if ascii else 'λ̂ ').rjust(9)}", rich_style(colours.get("muted", "")))
    for name, value, fate in rows:
        text.append(f"\n{name.rjust(5)}  {value.rjust(9)}")
        text.append(f"  {'x' if ascii else '✗'} {fate}" if fate else "", rich_style(colours.get("bad", "")))
    rest = {key: value for key, value in result.items() if key not in SAID}
    if rest:
        text.append("\n\n")
        text.append_text(scalars(rest, colours, ascii=ascii))
    return text


def facts(result: LLCResult, *, ascii: bool) -> list[Fact]:
    """The numbers that a reader looks for first, with their units; of a run of `sample` those that it has."""
    facts = []
    error, spread = result.llc_std_error, result.llc_std
    if result.llc_mean is not None:
        estimate = spelled(with_error(result.llc_mean, error if error is not None else spread), ascii=ascii)
        note = f"   standard error; chains spread by {number(spread, 2)}" if error is not None and spread is not None else ""
        facts.append(Fact("llc" if ascii else "λ̂", estimate + note, loud=True))
    for value, label in ((result.loss_mean, "loss"), (result.init_loss, "loss0" if ascii else "L₀")):
        if value is not None:
            facts.append(Fact(label, f"{number(value, 5)} nats"))
    facts.append(Fact("Rhat" if ascii else "R̂", spelled(number(result.rhat, 3), ascii=ascii)))
    facts.append(Fact("ESS", spelled(number(result.ess, 3), ascii=ascii)))
    left, lost = len(result.healthy_chains), len(result.failed_chains)
    if left + lost:
        facts.append(Fact("healthy", f"{left} of {left + lost} chains", "bad" if lost else ""))
    if result.tokens_per_second is not None:
        facts.append(Fact("speed", f"{thousands(result.tokens_per_second)} tok/s"))
    if result.seconds is not None:
        facts.append(Fact("took", duration(result.seconds)))
    if result.verdict:
        estimate, tone = spelled(clean(result.verdict, limit=400), ascii=ascii), "good" if result.usable is True else "bad"
        facts.append(Fact("verdict", estimate, tone, loud=True, alone=True))
    return facts


def chain_rows(result: LLCResult, *, ascii: bool) -> list[tuple[str, str, str]]:
    """Each chain's number, its estimate, and, where it failed, why."""
    lost = {}
    for chain, failed in result.failed_chains.items():
        at = f"step {failed.step}: " if failed.step is not None else ""
        lost[clean(chain, limit=12)] = clean(f"{at}{failed.cause}; left out", limit=200)
    estimates = {str(chain): value for chain, value in enumerate(result.llc_per_chain)} or dict.fromkeys(lost)
    return [(chain, spelled(number(value), ascii=ascii), lost.get(chain, "")) for chain, value in list(estimates.items())[:512]]
