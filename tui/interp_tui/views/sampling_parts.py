"""What moved each chain at its newest step, where the run measures it (save_metrics). Headless."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from interp_tui.text.numbers import number
from interp_tui.widgets.facts import rich_style
from interp_tui_engine.results.sampling import StepParts

NAMES = ("gradient", "pull", "noise", "drift", "distance")
WIDTH = 11


def parts_text(parts: Mapping[int, StepParts], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """A line a chain: norms of the parts of its step, in units of weight, and drift over noise. Empty where they are not measured.

    Drift is gradient and pull together. While noise is far larger than drift a chain diffuses; the loss shapes it where they balance.
    """
    text = Text(end="", no_wrap=True, overflow="crop")
    if not parts:
        return text
    muted = rich_style(colours.get("muted", ""))
    titles = "".join(f"|{name}|".rjust(WIDTH) for name in NAMES)
    text.append(f"\n chain{titles}{'drift/noise'.rjust(WIDTH + 2)}  newest step", muted)
    for chain, part in parts.items():
        text.append(f"\n {str(chain).rjust(5)}", rich_style(colours.get(f"chain-{chain % 8}", "")))
        ratio = part.drift / part.noise if part.noise and part.drift is not None else None
        norms = (part.gradient, part.pull, part.noise, part.drift, part.distance)
        numbers = "".join(number(value, 3).rjust(WIDTH) for value in norms) + number(ratio, 3).rjust(WIDTH + 2)
        text.append(numbers.replace("\u2014", "-") if ascii else numbers)
    return text
