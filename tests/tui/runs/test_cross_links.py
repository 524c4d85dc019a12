"""From a feature's card to the runs that say something of its layer and its texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from on_screen import ready

from interp_tui.app import InterpApp
from interp_tui.runs.cross_links import links
from interp_tui.screens.info import InfoScreen
from interp_tui_engine.events import RunFinished
from interp_tui_engine.payload import read
from interp_tui_engine.results.inspect import FeatureCard
from interp_tui_engine.runfolder import RunFolder

CARD = {
    "feature_id": "SAE:L2:F26",
    "model": "builtin:tiny",
    "layer": 2,
    "metadata": {"activating": [{"text": "The capital of  Peru is"}, {"text": "is"}]},
}
RESPONSES = {
    "kind": "susceptibilities",
    "mean": {"l2h1": {"facts": 0.012, "code": -0.0001}, "l20h1": {"facts": 9.0}, "l3 mlp": {"facts": 5.0}},
    "std_error": {"l2h1": {"facts": 0.001, "code": 0.0002}, "l20h1": {"facts": 0.1}, "l3 mlp": {"facts": 0.1}},
}
PAIR = {"text_1": "in Lima.\nThe capital of Peru is Lima.", "text_2": "People of Peru speak \x1b[31mSpanish.", "value": 0.09}
INFLUENCES = {"kind": "bif", "top_pairs": [{"text_1": "nothing", "text_2": "of it", "value": 1.0}, PAIR]}


@pytest.fixture
def ranked(make_run: Any) -> RunFolder:
    return make_run("ranked", kind="inspect", result={"kind": "inspect"}, age=100.0)


def test_the_newest_runs_that_say_something_are_found(make_run: Any, ranked: RunFolder) -> None:
    make_run("old", kind="susceptibilities", result=RESPONSES | {"mean": {"l2h9": {"facts": 1.0}}}, age=9000.0)
    make_run("heads", kind="susceptibilities", result=RESPONSES, age=500.0)
    make_run("texts", kind="bif", result=INFLUENCES, age=400.0)
    make_run("others", kind="bif", result={"top_pairs": [{"text_1": "is", "text_2": "x", "value": 2.0}]}, age=300.0)
    found = {link.folder.status().kind: link for link in links(ranked, read(FeatureCard, CARD))}
    assert found["susceptibilities"].folder.path.name.endswith("heads") and "at final" in found["susceptibilities"].title
    assert found["susceptibilities"].lines == ("l2h1 to facts: 0.0120 ± 0.0010", "l2h1 to code: -0.00010 ± 0.00020"), "the surest first"
    (line,) = found["bif"].lines
    assert line.startswith("0.0900  People of Peru speak") and "\x1b" not in line


def test_another_model_an_unfinished_run_and_a_broken_result_are_passed_over(make_run: Any, ranked: RunFolder) -> None:
    tables = {"model": {"source": "other/model"}}
    make_run("foreign", kind="susceptibilities", result=RESPONSES, tables=tables, age=500.0)
    make_run("half", kind="susceptibilities", state="failed", result=RESPONSES, age=400.0)
    make_run("broken", kind="bif", result={"top_pairs": [3, {"text_1": 4}]}, age=300.0)
    make_run("odd", kind="susceptibilities", result={"mean": [1], "std_error": {"l2h1": 3}}, age=200.0)
    assert links(ranked, read(FeatureCard, CARD)) == [] and links(ranked, read(FeatureCard, {})) == []


def test_a_step_of_a_pipeline_looks_beside_its_pipeline_too(make_run: Any, ranked: RunFolder) -> None:
    make_run("heads", kind="susceptibilities", result=RESPONSES, age=500.0)
    chain = make_run("chain", kind="pipeline")
    (chain.path / "steps").mkdir()
    ranked.path.rename(chain.path / "steps" / "inspect")
    (link,) = links(RunFolder(chain.path / "steps" / "inspect"), read(FeatureCard, CARD))
    assert link.folder.path.name.endswith("heads")


async def test_a_key_shows_them_over_the_features(make_run: Any, settle: Any) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_run("heads", kind="susceptibilities", result=RESPONSES, age=500.0)
    folder = make_run("ranked", kind="inspect", events=[RunFinished("done", 3.0)], result={"kind": "inspect"})
    row = {"feature_id": ["SAE:L2:F26"], "rank": [1], "layer": [2], "label": [""], "auroc": [0.9], "tier": [1]}
    pq.write_table(pa.table(row), folder.path / "features.parquet")
    (folder.path / "report.json").write_text(json.dumps({"cards": [CARD], "criterion": {"text": "c"}}))
    app = InterpApp(folder.path.parent, folder.path)
    async with app.run_test(size=(120, 30)) as pilot:
        await ready(pilot)
        await pilot.press("l")
        for _ in range(300):
            if isinstance(app.screen, InfoScreen):
                break
            await pilot.pause(0.02)
        assert isinstance(app.screen, InfoScreen)
        assert "l2h1 to facts: 0.0120" in str(app.screen.text) and app.screen.heading == "SAE:L2:F26"
