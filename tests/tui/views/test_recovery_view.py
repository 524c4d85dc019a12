"""The recovery grid: fills batch by batch, goes down to heads and back, steps through pairs, and shows hostile tokens as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from on_screen import look

from interp_tui.app import InterpApp
from interp_tui.views.recovery import strip
from interp_tui.views.recovery_cells import Recovered
from interp_tui.widgets.heatmap import Heatmap
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted

SIZES = [(80, 24), (140, 40)]
TOKENS = ["The", " capital", " of", " France", " is"]
LAYERS, HEADS, FIRST, LAST = 6, 3, 3, 4


def batches(pairs: int = 1, upto: int = LAYERS, tokens: list[str] = TOKENS) -> list[dict[str, Any]]:
    """What a run tells of: the fact leaves its token for the last one after layer 3."""
    found = []
    for pair in range(pairs):
        for kind in range(3):
            cells, values = [], []
            for layer in range(upto):
                for position in (FIRST, LAST):
                    for head in range(HEADS if kind == 2 else 1):
                        moved = layer > 3
                        value = (0.98 if (position == LAST) == moved else 0.04 * layer) / (1 + kind) - 0.1 * head + 0.01 * pair
                        cells.append([kind, layer, position, head])
                        values.append(round(value, 4))
            batch = {"pair": pair, "clean_metric": 9.07, "corrupt_metric": -9.35, "cells": cells, "recovery": values}
            if kind == 0:
                batch |= {
                    "pairs": pairs, "sites": ["resid_post", "attn_out"], "heads": HEADS, "layers": LAYERS, "first": FIRST, "last": LAST,
                    "metric": "logit_diff", "tokens": tokens, "corrupt_tokens": [*tokens[:3], " Japan", " is"],
                    "answer": [" Paris"], "counterfactual": [" Tokyo"],
                }  # fmt: skip
            found.append(batch)
    return found


def events(told: list[dict[str, Any]], done: bool = True) -> list[Any]:
    cells = [Metrics("cells", step, batch) for step, batch in enumerate(told)]
    found = [
        RunStarted("causal_trace", "france-japan", device="cpu"),
        Phase("patching"),
        *cells,
        Progress(36 if done else 12, 36, "patches"),
    ]
    return [*found, RunFinished("done", 0.9, {"clean_metric": 9.07, "corrupt_metric": -9.35})] if done else found


def run(make_run: Callable[..., Any], told: list[dict[str, Any]], state: str = "done") -> Any:
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"clean": "".join(TOKENS)}}
    return make_run(
        "france-japan", kind="causal_trace", state=state, tables=tables, unit="patches", events=events(told, state == "done"), total=36,
        done=36 if state == "done" else 12, headline={"clean_metric": 9.07, "corrupt_metric": -9.35},
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])
def test_look(make_run, snap_compare, size):
    folder = run(make_run, batches())

    async def ready(pilot: Any) -> None:
        await look(pilot, "down", "down")

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=size, run_before=ready)


def test_look_of_a_layers_heads(make_run, snap_compare):
    folder = run(make_run, batches(), "running")

    async def ready(pilot: Any) -> None:
        await look(pilot, "down", "enter", "g")

    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=(80, 24), run_before=ready)


async def test_sites_heads_and_back_keep_the_cursor(make_run):
    folder = run(make_run, batches())
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down", "down")
        assert "L2 · France" in text and "‹resid_post›" in text
        text = await look(pilot, "enter")
        assert "heads of layer 2" in text and "L2H0 · France" in text
        text = await look(pilot, "enter")
        assert "L2 · France" in text and app.screen.query_one(Heatmap).row == 2
        assert "‹attn_out›" in await look(pilot, "s")
        text = await look(pilot, "s")
        assert "‹heads›" in text and "heads at ‘France’" in text and "H2" in text


async def test_pairs_are_stepped_through_from_their_mean(make_run):
    folder = run(make_run, batches(pairs=2))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        assert "mean of 2 pairs" in await look(pilot)
        first = await look(pilot, "n")
        assert "pair 1 of 2" in first and "0.980" in first
        assert "0.990" in await look(pilot, "n")
        assert "mean of 2 pairs" in await look(pilot, "n")


async def test_tokens_cannot_steer_the_terminal(make_run):
    hostile = ["The", "[/b]", "\x1b]52;c;aGk=\x07", "[red]France", "\u202eis"]
    folder = run(make_run, batches(tokens=hostile))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert "[/b]" in text and "[red]France" in text and "\x1b" not in text and "\u202e" not in text


@pytest.mark.parametrize("batch", [{}, {"pair": "x"}, {"pair": 0, "cells": 3}, {"pair": 0, "cells": [[0, 0]], "recovery": [None, "x"]}])
def test_malformed_batches_are_left_out(batch):
    found = Recovered()
    found.read({0: batch, **dict(enumerate(batches(), 1))})
    assert found.value(0, (0, 5, LAST, 0)) == 0.98
    assert found.value(0, (0, 5, 0, 0)) == 0.0 and found.value(0, (0, 99, LAST, 0)) is None


def test_a_mean_weighs_pairs_by_their_effect():
    found = Recovered()
    told = batches(pairs=2)
    for batch in told[3:]:
        batch["clean_metric"] = -9.35 + 2 * 18.42
    found.read(dict(enumerate(told)))
    assert found.mean((0, 5, LAST, 0)) == pytest.approx((0.98 * 1 + 0.99 * 2) / 3)


@pytest.mark.parametrize("value, text", [(0.0, "●───"), (1.0, "───●"), (1.5, "───▶"), (-0.4, "◀───")])
def test_strip(value, text):
    assert strip(value, 4, ascii=False) == text
