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
from interp_tui_engine.numbers import as_finite as finite

from .base import scalars

SAID = frozenset(
    {"kind", "name", "schema_version", "seconds", "llc_mean", "llc_std", "llc_std_error", "llc_per_chain", "init_loss", "loss_mean"}
    | {"rhat", "ess", "healthy_chains", "failed_chains", "tokens_per_second", "verdict", "usable", "reasons", "uncertainty"}
)


def result_text(result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The estimate with its error, the diagnostics, a line for each chain, and then whatever else there is."""
    text = column(facts(result, ascii=ascii), colours)
    reasons = result.get("reasons")
    for why in reasons[:20] if isinstance(reasons, list) else ():
        text.append(f"\n  - {spelled(clean(str(why), limit=400), ascii=ascii)}", rich_style(colours.get("muted", "")))
    rows = chain_rows(result, ascii=ascii)
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


def facts(result: Mapping[str, Any], *, ascii: bool) -> list[Fact]:
    """The numbers that a reader looks for first, with their units."""

    def of(name: str) -> float | None:
        return finite(result.get(name))

    found = []
    llc, error, spread = of("llc_mean"), of("llc_std_error"), of("llc_std")
    if llc is not None:
        said = spelled(with_error(llc, error if error is not None else spread), ascii=ascii)
        note = f"   standard error; chains spread by {number(spread, 2)}" if error is not None and spread is not None else ""
        found.append(Fact("llc" if ascii else "λ̂", said + note, loud=True))
    for name, label, unit in (("loss_mean", "loss", " nats"), ("init_loss", "loss0" if ascii else "L₀", " nats")):
        if of(name) is not None:
            found.append(Fact(label, number(of(name), 5) + unit))
    for name, label, digits in (("rhat", "Rhat" if ascii else "R̂", 3), ("ess", "ESS", 3)):
        if name in result:
            found.append(Fact(label, spelled(number(of(name), digits), ascii=ascii)))
    healthy, failed = result.get("healthy_chains"), result.get("failed_chains")
    left = len(healthy) if isinstance(healthy, list) else healthy if isinstance(healthy, int) else None
    lost = len(failed) if isinstance(failed, (list, Mapping)) else failed if isinstance(failed, int) else 0
    if left is not None:
        found.append(Fact("healthy", f"{left} of {left + lost} chains", "bad" if lost else ""))
    speed, took = of("tokens_per_second"), of("seconds")
    if speed is not None:
        found.append(Fact("speed", f"{thousands(speed)} tok/s"))
    if took is not None:
        found.append(Fact("took", duration(took)))
    if isinstance(verdict := result.get("verdict"), str):
        found.append(
            Fact(
                "verdict",
                spelled(clean(verdict, limit=400), ascii=ascii),
                "good" if result.get("usable") is True else "bad",
                loud=True,
                alone=True,
            )
        )
    return found


def chain_rows(result: Mapping[str, Any], *, ascii: bool) -> list[tuple[str, str, str]]:
    """Each chain's number, its estimate, and, where it failed, why."""
    lost: dict[str, str] = {}
    failed = result.get("failed_chains")
    if isinstance(failed, Mapping):
        for chain, why in failed.items():
            step, cause = (why.get("step"), why.get("cause")) if isinstance(why, Mapping) else (None, why)
            at = f"step {step}: " if isinstance(step, int) else ""
            lost[clean(str(chain), limit=12)] = clean(f"{at}{cause}; left out", limit=200)
    elif isinstance(failed, list):
        lost = {clean(str(chain), limit=12): "failed; left out" for chain in failed[:512]}
    estimates = result.get("llc_per_chain")
    if isinstance(estimates, Mapping):
        pairs = [(clean(str(chain), limit=12), finite(value)) for chain, value in estimates.items()]
    elif isinstance(estimates, list):
        pairs = [(str(chain), finite(value)) for chain, value in enumerate(estimates)]
    else:
        pairs = [(chain, None) for chain in lost]
    return [(chain, spelled(number(value), ascii=ascii), lost.get(chain, "")) for chain, value in pairs[:512]]
