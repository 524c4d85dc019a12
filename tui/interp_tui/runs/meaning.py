"""Runs beside each other by what they mean: each one's answer, the difference in its own error, and what keeps them from being compared.

Headless; reads status and manifest of each run, so call it from a thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp_tui_engine import uncertainty
from interp_tui_engine.numbers import as_finite as finite
from interp_tui_engine.runfolder import RunFolder, Status
from interp_tui_engine.uncertainty import plus_minus

from ..text.numbers import NOT_IN_HEADLINE, number
from ..text.sanitise import clean
from . import session
from .headlines import answer

SAMPLING = frozenset({"llc", "sample"})
SETTINGS = ("n_beta", "localization", "lr", "sampler", "restrict", "batch_size")
"""Settings of sampling runs whose estimates say the same thing only where these agree."""
DIAGNOSTICS = frozenset({"rhat", "ess", "tokens_per_second"})
"""Headline numbers whose difference means nothing."""
CLEAR = 2.0
"""Standard errors from which on a difference is called one."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs: what it was asked, and what it answered."""

    folder: RunFolder
    status: Status
    tables: Mapping[str, Any]

    @property
    def name(self) -> str:
        return clean(self.status.name or self.folder.path.name, limit=40)


@dataclass(frozen=True)
class HeadlineDifference:
    """One headline number of two runs; `errors` is how many standard errors of the difference lie between them, where that is known."""

    name: str
    left: str
    right: str
    change: str
    errors: float | None

    @property
    def clear(self) -> bool | None:
        return None if self.errors is None else self.errors >= CLEAR


def side(folder: RunFolder) -> ComparedRun:
    """Raises UserError where the manifest cannot be read."""
    return ComparedRun(folder, session.read_run(folder).status, session.tables(folder))


def headline(run: ComparedRun, *, ascii: bool) -> str:
    """What the run answered, or why it did not."""
    outcome = answer(run.status.kind, run.status.headline, ascii=ascii)
    return outcome or clean(str(run.status.exit.get("reason") or run.status.state), limit=120)


def differences(left: ComparedRun, right: ComparedRun) -> list[HeadlineDifference]:
    """The headline numbers that both state, of two runs of one kind."""
    if left.status.kind != right.status.kind:
        return []
    a, b = left.status.headline, right.status.headline
    differing = []
    for name in a:
        mine, other = finite(a[name]), finite(b.get(name))
        if mine is None or other is None or name in NOT_IN_HEADLINE | DIAGNOSTICS or name.endswith(("_std", "_std_error")):
            continue
        differing.append(_difference(name, mine, other, std_error(a, name), std_error(b, name)))
    return differing


def _difference(name: str, left: float, right: float, left_error: float | None, right_error: float | None) -> HeadlineDifference:
    error = math.hypot(left_error, right_error) if left_error is not None and right_error is not None else 0.0
    change = plus_minus(right - left, error) if error > 0 else number(float(right - left), 3)
    sign = "" if change.startswith(("-", "(-")) else "+"
    return HeadlineDifference(name, number(left), number(right), sign + change, abs(right - left) / error if error > 0 else None)


def std_error(headline: Mapping[str, Any], name: str) -> float | None:
    """The standard error that a headline states for one of its numbers; a run that goes on has `x_std_error` beside its `x_mean`."""
    bar = uncertainty.read(headline).get(name)
    stated = bar.std_error if bar is not None else None
    return stated if stated is not None else finite(headline.get(f"{name.removesuffix('_mean')}_std_error"))


def warnings(sides: Sequence[ComparedRun]) -> list[str]:
    """Why the answers may not be compared as they stand."""
    kinds = {side.status.kind for side in sides}
    sentences = []
    if len(kinds) == 1 and kinds <= SAMPLING:
        apart = [(name, values) for name in SETTINGS if len(values := [_setting(side, name) for side in sides]) and len(set(values)) > 1]
        if apart:
            settings = ", ".join(f"{name} {' / '.join(values)}" for name, values in apart)
            sentences.append(f"λ̂ of runs sampled apart is not one quantity: {settings}")
    unfinished = [side.name for side in sides if side.status.state != "done"]
    if unfinished:
        sentences.append(f"not done: {', '.join(unfinished)}")
    return sentences


def _setting(run: ComparedRun, name: str) -> str:
    params = run.tables.get("params")
    value = params.get(name) if isinstance(params, Mapping) else None
    return "not set" if value is None else number(value)


def shared(sides: Sequence[ComparedRun]) -> list[str]:
    """What runs of different kinds have in common: the model, the data."""
    models = [_table(side.tables, "model") for side in sides]
    differing = []
    if all(models) and len({(str(m.get("source")), str(m.get("revision"))) for m in models}) == 1:
        differing.append(
            "the model " + " at ".join(clean(str(models[0][key]), limit=40) for key in ("source", "revision") if models[0].get(key))
        )
    data = [{repr(sorted(table.items())) for table in _table(side.tables, "data").values() if isinstance(table, Mapping)} for side in sides]
    common = set.intersection(*data) if data else set()
    if common:
        names = [name for name, table in _table(sides[0].tables, "data").items() if repr(sorted(table.items())) in common]
        differing.append("the data " + ", ".join(clean(name, limit=30) for name in names))
    if len({side.tables.get("seed") for side in sides}) == 1 and sides[0].tables.get("seed") is not None:
        differing.append(f"seed {number(sides[0].tables['seed'])}")
    return differing


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tables.get(name)
    return value if isinstance(value, Mapping) else {}
