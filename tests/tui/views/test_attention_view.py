"""The attention view: an overview of heads, down to one head's pattern and back, with tokens that stay text."""

from __future__ import annotations

from typing import Any

from on_screen import look

from interp_tui.app import InterpApp
from interp_tui.widgets.heatmap import Heatmap
from interp_tui_engine.events import Metrics, Progress, RunFinished, RunStarted

TOKENS = ["The", " cat", "[/b]", "\x1b]52;c;aGk=\x07", " The", " cat"]


def made(make_run: Any) -> InterpApp:
    events: list[Any] = [RunStarted("attention", "repeat", device="cpu")]
    for layer in range(3):
        pattern = [[[round(1 / (q + 1), 3) for _ in range(q + 1)] for q in range(6)] for _ in range(4)]
        values: dict[str, Any] = {"layer": layer, "heads": 4, "pattern": pattern}
        if layer == 0:
            values |= {"tokens": TOKENS, "layers": [0, 1, 2]}
        events.append(Metrics("cells", layer, values))
    table = {
        name: [[0.02 * (head + layer) for head in range(4)] for layer in range(3)]
        for name in ("previous_token", "duplicate_token", "copying")
    }
    table["induction"] = [[0.01] * 4, [0.02, 0.91, 0.02, 0.02], [0.01] * 4]
    named = [{"head": "L1H1", "name": "induction"}]
    events += [Metrics("cells", 3, {"scores": table, "named": named}), Progress(3, 3, "layers"), RunFinished("done", 1.0, {"named": 1})]
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"prompt": "x"}}
    folder = make_run("repeat", kind="attention", tables=tables, events=events, unit="layers", total=3, done=3)
    return InterpApp(folder.path.parent, folder.path)


def test_look(make_run, snap_compare):
    async def before(pilot: Any) -> None:
        await look(pilot, "down", "right", "enter")

    assert snap_compare(made(make_run), terminal_size=(80, 24), run_before=before)


async def test_a_head_opens_from_the_overview_and_closes_to_it(make_run):
    app = made(make_run)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down", "right")
        assert "induction head" in text and "L1H1" in text and "0.91" in text
        text = await look(pilot, "enter")
        assert "from the token of each row" in text and "[/b]" in text and "\x1b" not in text
        assert "L1H2" in await look(pilot, "s")
        assert "L1H1" in await look(pilot, "S")
        await look(pilot, "enter")
        heatmap = app.screen.query_one(Heatmap)
        assert (heatmap.row, heatmap.column) == (1, 1)
        assert "previous token score" in await look(pilot, "s")
