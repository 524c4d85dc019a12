"""Whatever stands in a result, a headline or a live event, the view draws what is left of it: nothing fails for one damaged value.

Payloads are made from the types that kinds state, and every value of them is replaced, one at a time, by what may stand there: of a wrong
type, missing, not finite, huge, nested, hostile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

from interp_tui.app import InterpApp
from interp_tui.runs.headlines import answer
from interp_tui.runs.runstate import RunState
from interp_tui.views import view_for
from interp_tui.views.base import RunView
from interp_tui_engine import catalog, payload
from interp_tui_engine.events import Event, Metrics, Progress, RunFinished, RunStarted, Stamped
from interp_tui_engine.kind import Kind
from payload_examples import damaged, example
from torture.text import HOSTILE
from torture.text import raw as steering

KINDS = [kind.name for kind in catalog.kinds()]
SIZES = ((80, 24), (140, 40))
ALONE = 4
"""Damaged payloads of a kind that are also drawn without others around them."""


@pytest.mark.parametrize("name", KINDS)
def test_an_example_fits_its_type(name: str) -> None:
    kind = catalog.get(name)
    assert kind.result is not None and kind.headline is not None
    for cls in (kind.result, kind.headline, *kind.live.values()):
        assert payload.differences(cls, example(cls)) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_result_reads_as_far_as_it_goes(name: str) -> None:
    kind, view = catalog.get(name), view_for(name)
    assert kind.result is not None
    for number, (what, result) in enumerate(damaged(example(kind.result))):
        text = view.result_text(result, {}, ascii=number % 2 == 0).plain
        assert "\x1b" not in text and "\u202e" not in text, what


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_headline_has_words_as_far_as_they_go(name: str) -> None:
    kind = catalog.get(name)
    assert kind.headline is not None
    for what, headline in damaged(example(kind.headline)):
        assert "\x1b" not in answer(name, headline), what


@pytest.mark.parametrize("size", SIZES)
async def test_damaged_events_are_drawn_as_far_as_they_go(size: tuple[int, int], tmp_path: Path) -> None:
    app = InterpApp(tmp_path / "runs")
    async with app.run_test(size=size) as pilot:
        for name in KINDS:
            for what, state in damaged_states(catalog.get(name)):
                try:
                    await draw(app, view_for(name)(), state)
                except Exception as error:
                    error.add_note(f"kind {name}, {what}")
                    raise
        await pilot.pause()
        assert app.crash is None


def damaged_states(kind: Kind) -> Iterator[tuple[str, RunState]]:
    """Nothing damaged; every damaged payload after another; a few of them alone."""
    changed = [*damages(kind)]
    yield "whole", state_of(kind, [])
    yield "all damages", state_of(kind, changed)
    every = max(1, len(changed) // ALONE)
    for each in changed[every // 2 :: every]:
        yield f"{each}"[:400], state_of(kind, [each])


async def draw(app: App[Any], view: RunView, state: RunState) -> None:
    """Take the state and draw it, as the run's screen does, without the screen's forgiveness."""
    await app.screen.mount(view)
    view.take(state, "waiting")
    await view.draw_plots()
    view.draw_tables()
    await view.remove()


def damages(kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every damaged payload of every series."""
    for series, cls in kind.live.items():
        for _, changed in damaged(example(cls)):
            yield series.replace("*", "0"), changed


def state_of(kind: Kind, changed: list[tuple[str, dict[str, Any]]], good: list[tuple[str, dict[str, Any]]] | None = None) -> RunState:
    """A finished run that told of one good payload a series, and then of these."""
    assert kind.headline is not None
    good = good or [(series.replace("*", "0"), example(cls)) for series, cls in kind.live.items()]
    events: list[Event] = [RunStarted(kind.name, "damaged", device="cpu"), Progress(1.0, 2.0, "steps")]
    events += [Metrics(series, step, values) for step, (series, values) in enumerate([*good, *changed])]
    events += [Metrics("headline", 0, example(kind.headline)), RunFinished("done", math.pi, example(kind.headline))]
    state = RunState()
    state.apply_all(Stamped(seq, float(seq), event) for seq, event in enumerate(events))
    return state


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_in_every_payload_is_shown_as_text(size: tuple[int, int], tmp_path: Path) -> None:
    app = InterpApp(tmp_path / "runs")
    async with app.run_test(size=size) as pilot:
        for name in KINDS:
            kind, view = catalog.get(name), view_for(name)()
            payloads = [
                (series.replace("*", HOSTILE if series == "*" else "0"), hostile(example(cls))) for series, cls in kind.live.items()
            ]
            await app.screen.mount(view)
            view.take(state_of(kind, [], payloads), "done")
            await view.draw_plots()
            view.draw_tables()
            await pilot.pause()
            drawn = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert steering(drawn) == [], name
            assert kind.result is not None
            assert steering(view.result_text(hostile(example(kind.result)), {}, ascii=False).plain) == [], name
            await view.remove()
        assert app.crash is None


def hostile(value: Any) -> Any:
    """The payload with hostile text before every text and every key of a table of the run's own."""
    if isinstance(value, dict):
        return {key: hostile(inner) for key, inner in value.items()} | ({HOSTILE: hostile(value["a"])} if "a" in value else {})
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{HOSTILE}{value}" if isinstance(value, str) else value
