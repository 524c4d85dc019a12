"""How a susceptibilities run's result.json reads in its Result tab, and what its tables are called. Headless."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from interp_tui.text.ascii_words import spelled
from interp_tui.text.numbers import with_error
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, column, rich_style
from interp_tui_engine.results.susceptibilities import SusceptibilitiesResult

QUANTITIES = {
    "covariance": "mean covariance Cov(L, L − l)",
    "first_order": "mean first order s (‖∇L‖² − ⟨∇L, ∇l⟩)",
    "shift": "mean shift of the losses",
    "mean": "mean susceptibility χ",
}
"""Tables of numbers by part and data set, in events and in result.json, and what they are."""
RANKED = {"susceptibility": "mean"}
"""Tables that a run's `rank_by` calls otherwise."""


def text_of(stored: SusceptibilitiesResult, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The means of the quantity ranked by, with their errors, by part and data."""
    names, parts = stored.observables, stored.restrictions
    ranked = RANKED.get(stored.ranked_by, stored.ranked_by)
    shown = ranked if ranked in QUANTITIES else "mean"
    means, errors, clear = stored.means(shown), stored.errors(shown), stored.clear.get(shown, {})
    text = column([Fact("parts", str(len(parts))), Fact("data", ", ".join(clean(name, limit=30) for name in names))], colours)
    wide = max([4, *(len(clean(part, limit=24)) for part in parts)])
    muted = rich_style(colours.get("muted", ""))
    text.append(f"\n\n{spelled(QUANTITIES[shown], ascii=ascii)}, nats²", muted)
    text.append(f"\n{'part'.ljust(wide)}" + "".join(f"  {clean(name, limit=18):>18}" for name in names), muted)
    for part in parts[:200]:
        text.append(f"\n{clean(part, limit=24).ljust(wide)}")
        for name in names:
            value, spread = means.get(part, {}).get(name), errors.get(part, {}).get(name)
            estimate = with_error(value, spread) if value is not None else "—"
            dim = muted if clear.get(part, {}).get(name) is False else ""
            text.append(f"  {(estimate.replace('±', '+-').replace('—', '-') if ascii else estimate):>18}", dim)
    return text


def plain(text: str) -> str:
    """The text in ASCII."""
    for sign, letters in (("χ", "chi"), ("‖∇L‖²", "|grad L|^2"), ("⟨∇L, ∇l⟩", "<grad L, grad l>"), ("−", "-")):
        text = text.replace(sign, letters)
    return text
