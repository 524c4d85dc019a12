"""How sure a number of result.json is, in the one shape that every kind writes and every view, report and export draws. Torch-free.

A kind returns `Result.uncertainty`, a mapping from the name of a number ("llc_mean", or "best.auroc" for one further in) to an
`Uncertainty`; the worker writes it as the table "uncertainty" of result.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Uncertainty:
    """An error bar, what it is taken over, and what the number would be were there nothing to find.

    `std_error` is in the number's own units; `low` and `high` bound it at `level`. `over` names what varies ("4 chains", "24 pairs",
    "5 folds × 3 seeds"), so that a reader knows what the bar does not hold. `control` is the same number where nothing can be found
    (shuffled labels, random directions); `clear` says whether the number stands clear of it, None where that was not tested.
    Where there is no bar, `note` says why: "one chain".
    """

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
        values = {name: _finite(value) for name, value in vars(self).items()}
        kept = {name: value for name, value in values.items() if value not in (None, "")}
        return kept if self.has_bar else {name: value for name, value in kept.items() if name != "level"}

    @property
    def has_bar(self) -> bool:
        return _finite(self.std_error) is not None or (_finite(self.low) is not None and _finite(self.high) is not None)


def none_known(why: str) -> Uncertainty:
    """For a number without an error bar: `why` ends the sentence "no error bar: …"."""
    return Uncertainty(note=why)


def read(result: Mapping[str, Any]) -> dict[str, Uncertainty]:
    """The uncertainties in a result.json, whoever wrote it: what is damaged or missing is left out."""
    table = result.get("uncertainty")
    if not isinstance(table, Mapping):
        return {}
    return {str(name): _read_one(stored) for name, stored in table.items() if isinstance(stored, Mapping)}


def _read_one(stored: Mapping[str, Any]) -> Uncertainty:
    over, note, clear = stored.get("over"), stored.get("note"), stored.get("clear")
    level = _number(stored.get("level"))
    return Uncertainty(
        over=over if isinstance(over, str) else "",
        std_error=_number(stored.get("std_error")),
        low=_number(stored.get("low")),
        high=_number(stored.get("high")),
        level=0.95 if level is None else level,
        control=_number(stored.get("control")),
        clear=clear if isinstance(clear, bool) else None,
        note=note if isinstance(note, str) else "",
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
