"""How sure a number of result.json is, in the one shape that every kind writes and every view, report and export draws. Torch-free.

A kind returns `Result.uncertainty`, a mapping from the name of a number ("llc_mean", or "best.auroc" for one further in) to an
`Uncertainty`; the worker writes it as the table "uncertainty" of result.json, and for the headline's numbers into the headline too.
`describe` words a number with its uncertainty for reports, listings and screens alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .numbers import as_finite, finite, short


@dataclass(frozen=True)
class Uncertainty:
    """An error bar, what it is taken over, and what the number would be were there nothing to find.

    `std_error` is in the number's own units; `low` and `high` bound it at `level`. `over` names what varies ("4 chains", "24 pairs",
    "5 folds × 3 seeds"), so that a reader knows what the bar does not hold. `control` is the same number where nothing can be found
    (shuffled labels, random directions); `clear` says whether the number stands clear of it, None where that was not tested.
    Where there is no bar, `note` says why: "one chain".
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # where it is part of a payload that is checked

    over: str = ""
    std_error: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    control: float | None = None
    clear: bool | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For result.json: finite numbers or null, and nothing that says nothing."""
        values = {name: finite(value) for name, value in vars(self).items()}
        kept = {name: value for name, value in values.items() if value not in (None, "")}
        return kept if self.has_bar else {name: value for name, value in kept.items() if name != "level"}

    @property
    def has_bar(self) -> bool:
        return finite(self.std_error) is not None or (finite(self.low) is not None and finite(self.high) is not None)


def none_known(why: str) -> Uncertainty:
    """For a number without an error bar: `why` ends the sentence "no error bar: …"."""
    return Uncertainty(note=why)


def read(result: Mapping[str, Any]) -> dict[str, Uncertainty]:
    """The uncertainties in a result.json, whoever wrote it: what is damaged or missing is left out."""
    table = result.get("uncertainty")
    if not isinstance(table, Mapping):
        return {}
    return {str(name): from_json(stored) for name, stored in table.items() if isinstance(stored, Mapping)}


def from_json(stored: Mapping[str, Any]) -> Uncertainty:
    """One uncertainty as a file holds it; a damaged or missing part has its default."""
    over, note, clear = stored.get("over"), stored.get("note"), stored.get("clear")
    level = as_finite(stored.get("level"))
    return Uncertainty(
        over=over if isinstance(over, str) else "",
        std_error=as_finite(stored.get("std_error")),
        low=as_finite(stored.get("low")),
        high=as_finite(stored.get("high")),
        level=0.95 if level is None else level,
        control=as_finite(stored.get("control")),
        clear=clear if isinstance(clear, bool) else None,
        note=note if isinstance(note, str) else "",
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(value: float, bar: Uncertainty | None) -> str:
    """`38.2 ± 0.9`, `0.81 [0.72, 0.88]`, `38.2 (no error bar: one chain)`; `(not clear of its control, 0.50)` where it is not."""
    if bar is None:
        return short(value)
    text = _with_bar(value, bar)
    if bar.clear is not False:
        return text
    return f"{text} (not clear of its control{'' if bar.control is None else f', {short(bar.control)}'})"


def _with_bar(value: float, bar: Uncertainty) -> str:
    if bar.std_error is not None and math.isfinite(bar.std_error):
        return plus_minus(value, bar.std_error)
    if bar.low is not None and bar.high is not None and math.isfinite(bar.low) and math.isfinite(bar.high):
        return interval(value, bar.low, bar.high)
    return f"{short(value)} (no error bar{f': {bar.note}' if bar.note else ''})"


def plus_minus(value: float, error: float) -> str:
    """`38.2 ± 0.9`: as many decimals as two figures of the error have; `(-4.8 ± 1.2)e-05` where both are small."""
    if not error > 0 or not math.isfinite(error) or not math.isfinite(value):
        return f"{short(value)} ± 0" if error == 0 and math.isfinite(value) else short(value)
    if error < 1e-4 and abs(value) < 1e-2:
        power = math.floor(math.log10(max(abs(value), error)))
        large, small = value / 10.0**power, error / 10.0**power
        decimals = min(2, max(0, 1 - math.floor(math.log10(small))))
        return f"({large:.{decimals}f} ± {small:.{decimals}f})e{power:03d}"
    decimals = _decimals(error)
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def interval(value: float, low: float, high: float) -> str:
    """`0.81 [0.72, 0.88]`: decimals as half the interval's width needs them."""
    half = (high - low) / 2
    if not half > 0 or half < 1e-4:
        return f"{short(value)} [{short(low)}, {short(high)}]"
    decimals = _decimals(half)
    return f"{value:,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def _decimals(error: float) -> int:
    return 0 if error >= 10 else min(6, max(0, 1 - math.floor(math.log10(error))))


def value_at(values: Mapping[str, Any], name: str) -> float | None:
    """The number that an uncertainty's name points to: keys and list positions, with dots between; None where there is none."""
    value: Any = values
    rest = name
    while rest:
        if isinstance(value, Mapping):
            key = next((key for key in _prefixes(rest) if key in value), None)  # names of sites and data may hold dots themselves
            if key is None:
                return None
            value, rest = value[key], rest[len(key) + 1 :]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            index, _, rest = rest.partition(".")
            if not index.isdecimal() or int(index) >= len(value):
                return None
            value = value[int(index)]
        else:
            return None
    return value if type(value) is int else as_finite(value)  # a count or a layer stays one: "2", not "2.00"


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def of_headline(headline: Mapping[str, Any], values: Mapping[str, Any], bars: Mapping[str, Uncertainty]) -> dict[str, Uncertainty]:
    """The bars of a headline's numbers: of the same name, or of the same last name and value further inside the result."""
    headline_bars: dict[str, Uncertainty] = {}
    for key, shown in headline.items():
        if key in bars:
            headline_bars[key] = bars[key]
        elif (number := as_finite(shown)) is not None:
            inner = (name for name in bars if name.rpartition(".")[2] == key and value_at(values, name) == number)
            if (name := next(inner, None)) is not None:
                headline_bars[key] = bars[name]
    return headline_bars


def headline_text(headline: Mapping[str, Any], key: str) -> str | None:
    """A number of a stored headline with its uncertainty, for the tables of reports; None where it is no number."""
    value, bar = headline.get(key), read(headline).get(key)
    if (number := as_finite(value)) is None:
        return None
    if bar is not None:
        return describe(number, bar)
    return short(number, 4) if isinstance(value, float) else str(value)
