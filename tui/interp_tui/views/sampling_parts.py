"""What moved each chain at its newest step, where the run measures it (save_metrics). Headless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from interp_tui.text.numbers import number
from interp_tui.widgets.facts import rich_style
from interp_tui_engine.numbers import as_finite as finite

NAMES = ("gradient", "pull", "noise", "drift", "distance")
WIDTH = 11


def parts_text(values: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
    """A line a chain: norms of the step's parts, in units of weight, and drift over noise. Empty for a run that does not measure them.

    Drift is gradient and pull together. While noise is far larger than drift a chain diffuses; the loss shapes it where they balance.
    """
    chains, parts = values.get("chains"), values.get("parts")
    text = Text(end="", no_wrap=True, overflow="crop")
    if not isinstance(chains, list) or not isinstance(parts, list) or not any(isinstance(part, Mapping) for part in parts):
        return text
    muted = rich_style(colours.get("muted", ""))
    titles = "".join(f"|{name}|".rjust(WIDTH) for name in NAMES)
    text.append(f"\n chain{titles}{'drift/noise'.rjust(WIDTH + 2)}  newest step", muted)
    for chain, part in zip(chains, parts, strict=False):
        if not isinstance(part, Mapping):
            continue
        found = [finite(part.get(name)) for name in NAMES]
        text.append(f"\n {str(chain).rjust(5)}", rich_style(colours.get(f"chain-{chain % 8 if isinstance(chain, int) else 0}", "")))
        noise, drift = finite(part.get("noise")), finite(part.get("drift"))
        ratio = drift / noise if noise and drift is not None else None
        said = "".join(number(value, 3).rjust(WIDTH) for value in found) + number(ratio, 3).rjust(WIDTH + 2)
        text.append(said.replace("\u2014", "-") if ascii else said)
    return text
