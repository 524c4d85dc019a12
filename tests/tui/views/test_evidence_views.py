"""How interventions and matches look, while they come in and when they are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from on_screen import ready

from interp_tui.app import InterpApp
from interp_tui.views.interventions import InterventionsView, axis_limit, effect_row
from interp_tui.views.match import MatchView, pair_row
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.events import Event, Metrics, Phase, RunFinished, RunStarted
from interp_tui_engine.payload import read
from interp_tui_engine.results.interventions import EffectLine
from interp_tui_engine.results.match import FeatureMatch
from interp_tui_engine.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("settle")
HOSTILE = "\x1b]52;c;aGk=\x07[/b]\u202e"
CONTROLS = {"random": {"mean": -0.1, "low": -0.3, "high": 0.1}, "matched_norm": {"mean": 0.2, "low": None, "high": None}}


def effect(name: str, strength: float, mean: float, half: float | None, *, clear: bool = False, **more: Any) -> dict[str, Any]:
    ends = {"low": None, "high": None} if half is None else {"low": mean - half, "high": mean + half}
    line = {"feature_id": name, "verb": "steer", "strength": strength, "effect": mean, "clear": clear, "rows": 24, "p": 0.001, "q": None}
    loss = {"loss_change": 0.021, "loss_low": 0.015, "loss_high": 0.027, "loss_control": 0.004} if strength > 4 else {}
    among = {"units": abs(mean) / 0.31, "control_count": 20, "control_spread": 0.31}
    return {
        **line,
        **ends,
        **loss,
        **among,
        "side_effect": 0.12,
        "control": -0.05,
        "controls": CONTROLS,
        "strong": max(0.0, abs(mean) - 0.2),
    } | more


EFFECTS = [
    effect("SAE:L2:F417", 1.0, -0.4, 0.5),
    effect("SAE:L2:F417", 4.0, -2.1, 0.6, clear=True, q=0.002),
    effect("SAE:L2:F417", 8.0, -6.1, 0.5, clear=True, q=1e-6),
    effect(HOSTILE, 1.0, 0.9, None),
]


def pair(
    left: str, right: str, score: float, quantile: float, effects: tuple[float | None, float | None], **components: float
) -> dict[str, Any]:
    cards = {
        f"{side}_card": {"feature_id": name, "model": f"model-{side}", "layer": 2, "label": "country names", "explanation": "It rises.",
                         "examples": ["p1: activation=12.4 | The capital of Peru is", HOSTILE]}
        for side, name in (("left", left), ("right", right))
    }  # fmt: skip
    signed = {"left_signed_effect": effects[0], "right_signed_effect": effects[1]}
    return (
        {"left": left, "right": right, "score": score, "null_quantile": quantile, "components": components, "left_label": "country names"}
        | signed
        | cards
    )


PAIRS = [
    pair("SAE:L2:F417", "SAE:L2:F22", 0.978, 1.0, (0.37, 0.33), text=1.0, activation=0.95),
    pair("SAE:L2:F8", HOSTILE, 0.49, 0.31, (0.34, -0.32), text=0.8, activation=0.6, causal=0.2),
    pair("L3:D9", "L1:D4", 0.61, 0.7, (None, None), text=0.61),
]


def run_of(
    make_run: Callable[..., RunFolder], kind: str, cases: list[dict[str, Any]], *, done: bool = True, curve: Sequence[dict[str, Any]] = ()
) -> RunFolder:
    events: list[Event] = [RunStarted(kind, "capitals", device="cpu"), Phase("working", "3 features")]
    events += [Metrics("case", index, case) for index, case in enumerate(cases)]
    events += [Metrics("cells", index, point) for index, point in enumerate(curve)]
    events += [RunFinished("done", 3.0, {})] if done else []
    return make_run("capitals", kind=kind, state="done" if done else "running", events=events, tables={"params": {}}, done=3, total=3)


def test_interventions_look(snap_compare: Any, make_run: Callable[..., RunFolder]) -> None:
    folder = run_of(make_run, "interventions", EFFECTS)

    async def before(pilot: Any) -> None:
        await ready(pilot)
        await pilot.press("down", "down")
        await ready(pilot)

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(80, 24), run_before=before)


CURVE = [{"strength": s, "effect": e, "side_effect": b, "gain": e - b} for s, e, b in ((1.0, 0.8, 0.1), (2.0, 2.4, 0.3), (4.0, 2.9, 2.2))]


def test_a_strength_curve_looks_like_one(snap_compare: Any, make_run: Callable[..., RunFolder]) -> None:
    folder = run_of(make_run, "contrast", [effect("direction:contrast:L2:capitals", 2.0, 2.2, 0.4, clear=True)], curve=CURVE)
    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(100, 28), run_before=ready)


def test_matches_look(snap_compare: Any, make_run: Callable[..., RunFolder]) -> None:
    folder = run_of(make_run, "match", PAIRS)
    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(140, 40), run_before=ready)


@pytest.mark.parametrize(("kind", "view"), [("interventions", InterventionsView), ("match", MatchView)])
async def test_a_run_with_nothing_yet_says_what_it_does(make_run: Callable[..., RunFolder], kind: str, view: type[Any]) -> None:
    folder = run_of(make_run, kind, [], done=False)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        assert screen.query_one(view).waiting == "working: 3 features"
        assert not screen.query_one(ListTable).display


def test_a_later_word_on_a_feature_replaces_the_first() -> None:
    first, last = (read(EffectLine, effect("f", 1.0, 1.0, 0.5, clear=clear)) for clear in (False, True))
    assert effect_row(0, first, axis_limit([first])).cells[-1].text == "" and effect_row(0, last, axis_limit([last])).cells[-1].text == "◆"


def test_broken_lines_are_shown_as_far_as_they_go() -> None:
    for line in ({}, {"feature_id": HOSTILE, "effect": "x", "low": None, "controls": 3}, {"strength": True, "clear": 1}):
        effects = read(EffectLine, line)
        assert all(cell.text.isprintable() for cell in effect_row(0, effects, axis_limit([effects])).cells)
    for line in ({}, {"left": HOSTILE, "components": [1], "null_quantile": "x", "left_signed_effect": 1}):
        assert all(cell.text.isprintable() for cell in pair_row(0, read(FeatureMatch, line)).cells)


NODES = [
    {"node": {"id": "criterion", "type": "criterion", "label": "the next token is a capital city"}, "edges": []},
    {"node": {"id": "m:a", "feature_id": "SAE:L2:F417", "label": "after “capital of X is”"}, "edges": []},
    {"node": {"id": "m:b", "feature_id": "SAE:L2:F88", "label": HOSTILE}, "edges": []},
    {"node": {"id": "m:c", "feature_id": "L3:D9", "label": ""}, "edges": []},
]
EDGES = [
    {"source": "m:a", "target": "criterion", "type": "causal_effect", "weight": 6.1, "confidence_interval": {"low": 5.6, "high": 6.6}},
    {"source": "m:b", "target": "m:a", "type": "coactivation", "weight": 0.81},
    {"source": "m:c", "target": "m:a", "type": "attribution", "weight": -0.39, "exact": -0.39, "attribution": -0.44},
]
for _case in NODES:
    _case["edges"] = [edge for edge in EDGES if _case["node"]["id"] in (edge["source"], edge["target"])]  # type: ignore[index]


def test_a_graph_looks_like_a_tree(snap_compare: Any, make_run: Callable[..., RunFolder]) -> None:
    folder = run_of(make_run, "attribution_graph", NODES)

    async def before(pilot: Any) -> None:
        await ready(pilot)
        await pilot.press("down", "enter")
        await ready(pilot)

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(80, 24), run_before=before)
