"""Numbers as the screens write them: short, aligned, with their error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interp_tui_engine import uncertainty
from interp_tui_engine.numbers import UNKNOWN, short

from .ascii_words import spelled
from .sanitise import clean

SIGNS = {
    "llc_mean": "λ̂",
    "llc": "λ̂",
    "rhat": "R̂",
    "ess": "ESS",
    "fvu": "FVU",
    "l0": "L0",
    "init_loss": "L₀",
    "loss_mean": "loss",
    "loss": "loss",
}
ASCII_SIGNS = {"llc_mean": "llc", "llc": "llc", "rhat": "rhat", "ess": "ess", "init_loss": "loss0"}
MOST_WRITTEN = 10**15
"""Integers from here on are written with a power of ten."""
FEW = 8
"""Items of a list that are written out."""
NOT_IN_HEADLINE = {"kind", "name", "schema_version", "seconds", "answer"}


def number(value: Any, digits: int = 4) -> str:
    """A value in few characters: `digits` significant figures, '—' for what is not known."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < MOST_WRITTEN else f"{value:.3e}" if abs(value) < 10**300 else "beyond 1e300"
    if isinstance(value, float):
        return short(value, digits)
    if isinstance(value, (list, tuple)):
        return _several(value, digits)
    if isinstance(value, Mapping):
        items = ", ".join(f"{clean(str(key), limit=24)} {number(item, digits)}" for key, item in list(value.items())[:FEW])
        return clean(items + (", …" if len(value) > FEW else ""), limit=120)
    return clean(str(value), limit=60)


def _several(values: Sequence[Any], digits: int) -> str:
    """A list on one line: its first items, or of a table its size and range, never all digits of all numbers."""
    if values and all(isinstance(row, (list, tuple)) for row in values):
        flat = [item for row in values for item in row if isinstance(item, (int, float)) and not isinstance(item, bool)]
        shape = f"{len(values)} × {max(len(row) for row in values)}"
        return f"{shape} from {number(min(flat), digits)} to {number(max(flat), digits)}" if flat else shape
    return ", ".join(number(item, digits) for item in values[:FEW]) + (", …" if len(values) > FEW else "")


def with_error(value: float, error: float | None) -> str:
    """`38.2 ± 0.9`: as many decimals as two figures of the error have; `(-4.8 ± 1.2)e-05` where both are small."""
    if not error or not math.isfinite(error) or not math.isfinite(value):
        return number(value, 3)
    return uncertainty.plus_minus(value, error)


class Quantity(NamedTuple):
    """A number under its sign, worded with its error. unclear: it does not stand clear of its control, and is drawn dimmed."""

    sign: str
    text: str
    unclear: bool


def headline(values: Mapping[str, Any], *, ascii: bool = False, most: int = 3) -> str:
    """A run's headline numbers on one line: `λ̂ 38.2 ± 0.9  R̂ 1.02`. A `x_std_error` (else `x_std`) becomes the error of its `x_mean`.

    An `answer` in words takes the place of the numbers.
    """
    if values.get("answer"):
        return clean(str(values["answer"]), limit=120)
    return "  ".join(f"{sign} {wording}" for sign, wording in headline_pairs(values, ascii=ascii)[:most])


def headline_pairs(values: Mapping[str, Any], *, ascii: bool = False) -> list[tuple[str, str]]:
    """The headline as (sign, value) pairs, in its own order, errors joined to what they belong to."""
    return [(quantity.sign, quantity.text) for quantity in quantities(values, ascii=ascii)]


def quantities(values: Mapping[str, Any], *, ascii: bool = False) -> list[Quantity]:
    """A headline's or a result's own numbers, in its order, with the uncertainty it states (its table `uncertainty`), else with the error
    that a `x_std_error` (else `x_std`) gives its `x_mean`."""
    bars = uncertainty.read(values)
    quantities: list[Quantity] = []
    joined = NOT_IN_HEADLINE | {
        f"{key.removesuffix('_mean')}{end}" for key in values if key.endswith("_mean") for end in ("_std_error", "_std")
    }
    for key, value in values.items():
        if key in joined or isinstance(value, (list, Mapping)):
            continue
        sign = (ASCII_SIGNS if ascii else SIGNS).get(key, key).replace("_", " ")
        text = _worded(key, value, values, bars.get(key))
        unclear = key in bars and bars[key].clear is False
        quantities.append(Quantity(clean(sign, limit=24), spelled(text, ascii=ascii), unclear))
    return quantities


def _worded(key: str, value: Any, values: Mapping[str, Any], bar: uncertainty.Uncertainty | None) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return number(value, 3)
    if bar is not None:
        return clean(uncertainty.describe(value, bar), limit=80)
    stem = key.removesuffix("_mean")
    error = next((values[stem + end] for end in ("_std_error", "_std") if isinstance(values.get(stem + end), (int, float))), None)
    return with_error(float(value), float(error)) if key.endswith("_mean") and error is not None else number(value, 3)


BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*#@"


def spark(values: list[float], width: int, *, ascii: bool = False) -> str:
    """The values as one row of `width` block characters; each cell shows the mean of what falls in it."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite or width < 1:
        return ""
    count = min(width, len(finite))
    cells = [finite[i * len(finite) // count : (i + 1) * len(finite) // count] for i in range(count)]
    means = [sum(cell) / len(cell) for cell in cells]
    low, high = min(means), max(means)
    blocks = ASCII_BLOCKS if ascii else BLOCKS
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((v - low) * scale)] for v in means)


def spark_of_percent(values: Sequence[float], *, ascii: bool = False) -> str:
    """Percentages as one row of block characters, one each, between 0 and 100."""
    blocks = ASCII_BLOCKS if ascii else BLOCKS
    return "".join(blocks[round(max(0.0, min(100.0, value)) / 100 * (len(blocks) - 1))] for value in values)


def percent_done(fraction: float) -> str:
    """How far a run is, the same wherever it is said: `64 %`, rounded down, so that 100 % means done."""
    return f"{math.floor(100 * max(0.0, min(1.0, fraction)) + 1e-9)} %"


def bar(fraction: float, width: int, *, ascii: bool = False) -> str:
    """A progress bar of `width` cells."""
    filled = round(max(0.0, min(1.0, fraction)) * width)
    full, empty = ("#", ".") if ascii else ("█", "░")
    return full * filled + empty * (width - filled)


def short_path(path: Path) -> str:
    """A path as one would type it from here: ./runs or ~/runs rather than the whole of it."""
    for base, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if path == base or base in path.parents:
            return clean(str(Path(sign) / path.relative_to(base)) if sign == "~" else f"./{path.relative_to(base)}".removesuffix("/."))
    return clean(str(path))


def age(seconds: float) -> str:
    """How long ago, as one number and its unit: '12 s', '4 m', '1 h', '3 d'."""
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (86400 * 100, 86400, "d")):
        if seconds < limit:
            return f"{int(max(0, seconds) // size)} {unit}"
    return f"{int(seconds // (86400 * 365.25))} y" if seconds >= 86400 * 366 else f"{int(seconds // (86400 * 30))} mo"


def duration(seconds: float | None) -> str:
    """A length of time with its two largest units, such as '1 m 12 s'; '—' when it is not known."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, lower, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def duration_range(seconds: float | None, low: float | None, high: float | None) -> str:
    """`1 m 12 s (48 s to 1 m 50 s)`; without the range where it is not known."""
    text = duration(seconds)
    return text if seconds is None or low is None or high is None else f"{text} ({duration(low)} to {duration(high)})"


def size(count: float | None) -> str:
    """Bytes in the largest decimal unit that fits, such as '310 MB'; '—' when not known."""
    if count is None:
        return "—"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def thousands(value: float) -> str:
    """`61234` as `61.2 k`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.1f} {unit}" if abs(value) < 100 * limit else f"{value / limit:.0f} {unit}"
    return f"{value:.0f}"
