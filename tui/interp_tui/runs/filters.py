"""The filter of the Runs screen: `kind = llc & done`, `llc > 5`, `name ~ scan | !failed`.

Words without a sign are looked for in state, kind, name, model and headline. `&` binds tighter than `|`; `!` turns one term round.
`@bad = failed | crashed` keeps a filter under a name, `@bad = ` forgets it, and `@bad & kind = llc` uses it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from interp_tui_engine.numbers import as_finite

from ..terminal import host
from .session import Run

Predicate = Callable[[Run], bool]
FIELDS = ("kind", "name", "model", "state", "device", "progress", "age", "tag", "note", "archived")
TERM = re.compile(r"\s*(?P<field>[A-Za-z_]\w*)\s*(?P<op>!=|>=|<=|=|~|>|<)\s*(?P<value>.+?)\s*")
NAME = re.compile(r"@(?P<name>[\w-]{1,30})")
DEFINITION = re.compile(rf"\s*{NAME.pattern}\s*=(?!=)(?P<text>.*)")
AGE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class FilterDefinition:
    """A filter that is typed to be kept under a name; with an empty text, one to be forgotten."""

    name: str
    text: str


def named(text: str) -> FilterDefinition | None:
    """What `@name = …` asks for; None for any other filter."""
    match = DEFINITION.fullmatch(text)
    return FilterDefinition(match["name"], match["text"].strip()) if match else None


def names_in(text: str) -> set[str]:
    """The names of kept filters that a filter uses, or is kept under."""
    return {match["name"] for match in NAME.finditer(text)}


def compile_filter(text: str, numbers: Iterable[str] | None = None, kept: Mapping[str, str] | None = None) -> Predicate:
    """The predicate that `text` means. Raises ValueError with a sentence saying what is wrong.

    `numbers` are the headline numbers that the runs have: a field that is neither one of them nor of `FIELDS` is refused. None takes any.
    `kept` are the filters that have names.
    """
    if (definition := named(text)) is not None:
        others = {name: other for name, other in (kept or {}).items() if name != definition.name}
        return compile_filter(definition.text, numbers, others)
    if not text.strip():
        return lambda run: True
    known = None if numbers is None else {*FIELDS, *numbers, *(name.removesuffix("_mean") for name in numbers)}
    kept = kept or {}
    choices = [[_term(term, known, kept) for term in choice.split("&") if term.strip()] for choice in text.split("|") if choice.strip()]
    ways = [terms[0] if len(terms) == 1 else _all_of(terms) for terms in choices]
    return ways[0] if len(ways) == 1 else lambda run: any(holds(run) for holds in ways)


def _all_of(terms: Sequence[Predicate]) -> Predicate:
    return lambda run: all(holds(run) for holds in terms)


def numbers_of(runs: Iterable[Run]) -> set[str]:
    """The names of the headline numbers that any of the runs has."""
    return {name for run in runs for name in run.status.headline}


def _term(text: str, known: Set[str] | None, kept: Mapping[str, str]) -> Predicate:
    text = text.strip()
    if text.startswith("!") and not text.startswith("!="):
        inner = _term(text[1:], known, kept)
        return lambda run: not inner(run)
    if text.startswith("@"):
        name = text.removeprefix("@")
        if name not in kept:
            raise ValueError(f"no filter is kept as {text!r}; {_kept_ones(name, kept)}")
        return compile_filter(kept[name], known, {other: its for other, its in kept.items() if other != name})  # none stands in itself
    match = TERM.fullmatch(text)
    if match is None:
        if re.search(r"[=<>~]", text):
            raise ValueError(f"{text!r} is no term: field = value, with one of = != ~ > < >= <=")
        word = text.lower()
        return lambda run: word in run.words
    field, op, value = match["field"], match["op"], match["value"].strip("\"'")
    if known is not None and field not in known:
        close = difflib.get_close_matches(field, known, n=1)
        meant = f"did you mean {close[0]!r}?" if close else f"fields: {', '.join([*FIELDS, *sorted(known - set(FIELDS))[:6]])}"
        raise ValueError(f"no run has {field!r}; {meant}")
    if op in {">", "<", ">=", "<="}:
        return _compare(field, op, _limit(field, value))
    wanted = value.lower().removeprefix("#") if field == "tag" else value.lower()
    if field == "tag" and op in {"=", "!="}:
        return lambda run: (wanted in [tag.lower() for tag in run.labels.tags]) is (op == "=")
    if op == "~":
        return lambda run: wanted in _value(run, field).lower()
    return lambda run: (_value(run, field).lower() == wanted) is (op == "=")


def _kept_ones(name: str, kept: Mapping[str, str]) -> str:
    if not kept:
        return "@name = … keeps one under a name"
    close = difflib.get_close_matches(name, kept, n=1)
    return f"did you mean '@{close[0]}'?" if close else f"kept: {', '.join(f'@{other}' for other in kept)}"


def _limit(field: str, value: str) -> float:
    unit = AGE_UNITS.get(value[-1:]) if field == "age" else None
    try:
        return float(value[:-1]) * unit if unit else float(value)
    except ValueError:
        raise ValueError(f"{value!r} is no number") from None


def _compare(field: str, op: str, limit: float) -> Predicate:
    def holds(run: Run) -> bool:
        value = _number(run, field)
        if value is None:
            return False
        return {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[op]

    return holds


def _number(run: Run, field: str) -> float | None:
    if field == "age":
        return host.now() - run.started
    if field == "progress":
        return 100 * run.status.fraction
    headline = run.status.headline
    for key in (field, f"{field}_mean"):
        if (value := as_finite(headline.get(key))) is not None:
            return value
    return None


def _value(run: Run, field: str) -> str:
    if field in {"kind", "name", "model", "state", "device"}:
        return str(getattr(run.status, field))
    if field == "tag":
        return " ".join(run.labels.tags)
    if field == "note":
        return run.labels.note
    if field == "archived":
        return "yes" if run.labels.archived else "no"
    return str(run.status.headline.get(field, ""))


def asks_for_archived(text: str, kept: Mapping[str, str] | None = None) -> bool:
    """Whether a filter, or one that it names, speaks of archived runs; of one that does not, they are left out."""
    names = names_in(text)
    others = {name: its for name, its in (kept or {}).items() if name not in names}
    return re.search(r"\barchived\b", text) is not None or any(asks_for_archived((kept or {}).get(name, ""), others) for name in names)
