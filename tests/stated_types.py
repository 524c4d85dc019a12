"""What a run wrote, held to the types that its kind states: in result.json, in its headline and in every live event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from interp_tui_engine import catalog, payload
from interp_tui_engine.events import Event, Metrics


def misfits(kind: str, values: Mapping[str, Any], headline: Mapping[str, Any], events: Iterable[Event]) -> list[str]:
    """What does not fit, each with where it stands; `values` without what every kind's result.json holds will do."""
    stated = catalog.get(kind)
    assert stated.result is not None and stated.headline is not None, f"kind {kind} states no types of its results"
    found = [f"result.json: {what}" for what in payload.differences(stated.result, values)]
    found += [f"headline: {what}" for what in payload.differences(stated.headline, headline)]
    live = {"headline": stated.headline, **stated.live}
    for event in events:
        if isinstance(event, Metrics):
            cls = payload.live_type(live, event.series)
            wrong = [f"{kind} states no series of that name"] if cls is None else payload.differences(cls, event.values)
            found += [f"series {event.series}: {what}" for what in wrong]
    return list(dict.fromkeys(found))


def assert_as_stated(kind: str, result: catalog.Result, events: Iterable[Event]) -> None:
    """Fail with every difference between what a kind returned and told, and what it states."""
    bars = {"uncertainty": {name: bar.as_json() for name, bar in result.uncertainty.items()}}
    found = misfits(kind, {**result.values, **bars}, result.headline, events)
    assert not found, "\n".join(found)
