"""How an influence run's result.json reads in its Result tab. Headless."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, column, rich_style
from interp_tui_engine.results.bif import BIFResult


def text_of(stored: BIFResult, colours: Mapping[str, str]) -> Text:
    """Size, floor and agreement, then the mean influence between kinds of data."""
    kinds, between = stored.observables, stored.between
    sizes = " x ".join(number(size) for size in stored.shape) or "-"
    facts = [Fact("influences", sizes), Fact("constant losses", number(stored.constant_count))]
    if stored.floor is not None:
        facts.append(Fact("pairs clear of the floor", f"{number(stored.floor.clear_pairs)} of {number(stored.floor.pairs)}"))
    if stored.agreement:
        facts.append(Fact("two samplings agree at r", number(stored.agreement.get("seeds"), 2)))
    if stored.no_error:
        facts.append(Fact("no error bar", clean(stored.no_error, limit=60)))
    text = column(facts, colours)
    if between:
        wide = max([4, *(len(clean(kind, limit=18)) for kind in kinds)])
        text.append(
            "\n\n" + "mean".ljust(wide) + "".join(f"  {clean(kind, limit=12):>12}" for kind in kinds),
            rich_style(colours.get("muted", "")),
        )
        for kind in kinds:
            cells = [between.get(kind, {}).get(other) for other in kinds]
            text.append(
                f"\n{clean(kind, limit=18).ljust(wide)}" + "".join(f"  {(number(v, 3) if v is not None else '-'):>12}" for v in cells)
            )
    return text
