"""The feature table: filters, sorting, how it looks, and that 50,000 features cost what is visible of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import on_screen
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from textual.widgets import Input

from interp_tui.app import InterpApp
from interp_tui.runs import feature_table
from interp_tui.runs.column_filter import matching
from interp_tui.screens.run import RunScreen
from interp_tui.views.inspect import InspectView, feature_row, small
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine import atomic
from interp_tui_engine.dictionaries import repetition
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted
from interp_tui_engine.payload import read
from interp_tui_engine.results.inspect import RankedFeature
from interp_tui_engine.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("settle")
HOSTILE = "\x1b]52;c;aGk=\x07[/b]\u202e"
LABELS = ["after “capital of X is”", "country names", "", "cities with a river", HOSTILE]
TABLE: dict[str, list[Any]] = {
    "rank": [1, 2, 3, 4, 5],
    "feature_id": ["SAE:L2:F417", "SAE:L2:F88", "L3:D12", "L3:D99", "SAE:L2:F5"],
    "layer": [2, 2, 3, 3, 2],
    "label": LABELS,
    "tier": [2, 1, 1, 0, 0],
    "auroc": [0.991, 0.871, 0.85, 0.56, None],
    "auroc_low": [0.98, 0.84, 0.82, 0.5, None],
    "auroc_high": [0.996, 0.9, 0.88, 0.62, None],
    "auroc_fitted": [0.99, 0.9, 0.86, 0.58, 0.5],
    "direction": [1, 1, -1, 1, 1],
    "correlation": [0.92, 0.6, -0.55, 0.1, None],
    "q": [1e-12, 2e-5, 0.0004, 0.41, 1.0],
    "family_p": [0.005, 0.005, 0.01, 0.9, 1.0],
    "stability": [0.97, 0.92, 0.9, 0.3, 0.0],
    "specificity": [0.4, 0.1, 0.2, None, None],
    "fires": [80, 120, 400, 400, 1],
    "effect": [6.1, 0.4, None, -0.2, None],
    "effect_low": [5.6, -0.1, None, None, None],
    "effect_high": [6.6, 0.9, None, None, None],
    "clear": [True, False, False, False, False],
    "side_effect": [0.01, 0.02, None, 0.2, None],
    "control": [0.05, 0.05, None, None, None],
}
CARD = {
    "feature_id": "SAE:L2:F417",
    "metadata": {
        "histogram": {"counts": [40, 22, 9, 5, 3, 1], "low": 0.1, "high": 12.4, "silent": 9920},
        "promotes": [" Lima", " Cairo", " Rome"],
        "suppresses": [" the", "\n"],
        "activating": [
            {"activation": 12.4, "score": 1.0, "prompt_id": "p1", "text": "The capital of Peru is Lima. The capital of Norway is"},
            {"activation": 11.9, "score": 1.0, "prompt_id": "p2", "text": f"Oslo {HOSTILE} is"},
        ],
    },
}
EVENTS = [
    RunStarted("inspect", "capitals", device="cpu"),
    Phase("reading records", "records.jsonl.gz"),
    Metrics("records", 800, {"rows": 800, "features": 5, "rows_per_second": 41000.0}),
    Phase("ranking", "5 features on 400 held-out rows"),
    Progress(5, 5, "features", 0.0),
    RunFinished("done", 2.2, {"top": "SAE:L2:F417", "auroc": 0.991, "associated": 3, "causal": 1}),
]


def finished(make_run: Callable[..., RunFolder], table: dict[str, list[Any]] = TABLE) -> RunFolder:
    folder = make_run("capitals", kind="inspect", events=EVENTS, result={"kind": "inspect", "causal": 1}, tables={"params": {}})
    pq.write_table(pa.table(table), folder.path / "features.parquet")
    atomic.write_json(folder.path / "report.json", {"criterion": {"text": "the next token is a capital city"}, "cards": [CARD]})
    return folder


async def ready(pilot: Any) -> InspectView:
    return (await on_screen.ready(pilot)).query_one(InspectView)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a key brings about: keys are handled one after another, but not before `press` returns."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


async def type_filter(pilot: Any, text: str) -> None:
    await pilot.press("slash")
    await until(lambda: isinstance(pilot.app.focused, Input))
    await pilot.press(*text)
    await until(lambda: pilot.app.screen.query_one(InspectView).filter == text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("auroc > .8 & layer = 2", [0, 1]),
        ("clear | layer = 3 & auroc<.6", [0, 3]),
        ("!clear & effect > 0", [1]),
        ("causal", [0]),
        ("label ~ COUNTRY", [1]),
        ("river", [3]),
        ("feature = sae:l2:f88", [1]),
        ("feature != L3:D12 & layer = 3", [3]),
        ("clear = yes", [0]),
        ("q >= .4", [3, 4]),
    ],
)
def test_filters(text: str, rows: list[int]) -> None:
    assert matching(text, TABLE, feature_table.ALIASES) == rows


@pytest.mark.parametrize(
    ("text", "said"), [("aurc > 1", "did you mean auroc"), ("auroc > high", "'high' is no number"), ("a = = b >", "no column|no term")]
)
def test_filters_that_mean_nothing(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        matching(text, TABLE, feature_table.ALIASES)


def test_sorting_puts_missing_values_last() -> None:
    table = feature_table.FeatureTable(TABLE)
    orders = {name: table.chosen("", i) for i, (name, _) in enumerate(feature_table.SORTS)}
    assert orders["effect"] == [0, 1, 3, 2, 4] and orders["auroc"] == [0, 1, 2, 3, 4] and orders["fires"] == [2, 3, 1, 0, 4]


@pytest.mark.parametrize(("q", "said"), [(1e-12, "<1e-6"), (2e-5, "2.0e-05"), (0.023, ".023"), (1.0, "1"), (None, "—")])
def test_small_numbers(q: float | None, said: str) -> None:
    assert small(q) == said


def test_nothing_in_a_row_steers_the_terminal() -> None:
    row = feature_row(read(RankedFeature, {name: column[4] for name, column in TABLE.items()} | {"feature_id": HOSTILE}))
    assert all(cell.text.isprintable() for cell in row.cells)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_looks(snap_compare: Any, make_run: Callable[..., RunFolder], size: tuple[int, int]) -> None:
    folder = finished(make_run)
    assert snap_compare(InterpApp(folder.path.parent, folder.path), terminal_size=size, run_before=ready)


async def test_latents_that_another_start_finds_are_marked(make_run: Callable[..., RunFolder]) -> None:
    folder = finished(make_run, {**TABLE, "repeats": [0.93, 0.31, None, None, 0.7]})
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        view = await ready(pilot)
        cells = {row.key: row.cells[-1].text.strip() for row in view.query_one(ListTable).rows}
        assert list(cells.values()) == ["0.93 ↻", "0.31", "—", "—", "0.70 ↻"] and feature_table.REPEATS == repetition.REPEATS
        await type_filter(pilot, "repeats > .5")
        await pilot.press("enter")
        await until(lambda: len(view.query_one(ListTable).rows) == 2)


async def test_keys_filter_sort_and_show_the_card(make_run: Callable[..., RunFolder]) -> None:
    folder = finished(make_run)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        view = await ready(pilot)
        table = view.query_one(ListTable)
        await type_filter(pilot, "layer=3")
        await pilot.press("enter")
        await until(lambda: app.focused is table)
        assert [row.key for row in table.rows] == ["L3:D12", "L3:D99"]
        await pilot.press("o", "o")  # by effect: the one that has one comes first
        await until(lambda: [row.key for row in table.rows] == ["L3:D99", "L3:D12"])
        assert table.key == "L3:D12", "the cursor stays on its feature"
        await pilot.press("escape")
        await until(lambda: len(table.rows) == 5)
        assert isinstance(app.screen, RunScreen)
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, RunScreen))


async def test_a_run_without_a_readable_table_says_so(make_run: Callable[..., RunFolder]) -> None:
    folder = finished(make_run)
    (folder.path / "features.parquet").write_bytes(b"PAR1 cut")
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        view = await ready(pilot)
        assert "cannot be read" in view.waiting and view.table is None


async def test_fifty_thousand_features_are_made_as_they_are_looked_at(make_run: Callable[..., RunFolder], monkeypatch: Any) -> None:
    count, rng = 50_000, random.Random(0)
    big = {name: [column[i % 5] for i in range(count)] for name, column in TABLE.items()}
    big |= {
        "rank": list(range(1, count + 1)),
        "feature_id": [f"L1:D{i}" for i in range(count)],
        "auroc": [rng.random() for _ in range(count)],
    }
    made: list[int] = []
    whole = feature_table.FeatureTable.row
    monkeypatch.setattr(feature_table.FeatureTable, "row", lambda self, index: made.append(index) or whole(self, index))
    folder = finished(make_run, big)
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(140, 40)) as pilot:
        view = await ready(pilot)
        table = view.query_one(ListTable)
        await pilot.press("end", "o")
        await type_filter(pilot, "auroc>.5")
        await until(lambda: view._shown == ("auroc>.5", 1))
        assert len(table.rows) == sum(value > 0.5 for value in big["auroc"])
        assert len(set(made)) < 600, "only rows that were on the screen"


def test_the_table_is_what_was_written(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    found = feature_table.load(finished(make_run).path)
    assert found is not None and found.row(1) == {name: column[1] for name, column in TABLE.items()}
    assert found.criterion == "the next token is a capital city" and list(found.cards) == ["SAE:L2:F417"]
    assert feature_table.load(tmp_path) is None
