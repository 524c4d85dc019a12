"""The probe view: curves by layer fill as they are probed, the best place is named, labels stay text."""

from __future__ import annotations

from typing import Any

import pytest
from on_screen import look

from interp_tui.app import InterpApp
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted

PLACES = ["resid_post", "attn_out"]
LABELS = ["Europe", "[/b]\x1b]52;c;aGk=\x07"]


def events(probed: int, layers: int = 6) -> list[Any]:
    found: list[Any] = [RunStarted("probe", "europe", device="cpu"), Phase("reading activations", "40 texts")]
    for step in range(probed):
        place, layer = divmod(step, layers)
        score = 0.6 + 0.06 * layer - 0.05 * (layer - 3) ** 2 * (layer > 3) + 0.01 * place
        wrong = 12 - layer
        told: dict[str, Any] = {
            "place": PLACES[place], "layer": layer, "auroc": score, "auroc_low": score - 0.15, "auroc_high": min(1.0, score + 0.1),
            "accuracy": 1 - 2 * wrong / 40, "control_accuracy": 0.45, "confusion": [[20 - wrong, wrong], [wrong, 20 - wrong]],
        }  # fmt: skip
        if step == 0:
            told |= {"places": PLACES, "layers": layers, "classes": LABELS, "probe": "mean_difference"}
        found.append(Metrics("cells", step, told))
    found.append(Progress(probed, 2 * layers, "probes"))
    return [*found, RunFinished("done", 4.0, {"best_layer": 3})] if probed == 2 * layers else found


def made(make_run: Any, probed: int, **kwargs: Any) -> InterpApp:
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"folds": 4}}
    state = "done" if probed == 12 else "running"
    given = {"state": state, "events": events(probed), "tables": tables, "unit": "probes", "total": 12, "done": probed} | kwargs
    folder = make_run("europe", kind="probe", **given)
    return InterpApp(folder.path.parent, folder.path)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_look(make_run, snap_compare, size):
    async def before(pilot: Any) -> None:
        await look(pilot, "down", "down")

    assert snap_compare(made(make_run, 12), terminal_size=size, run_before=before)


async def test_the_best_place_the_control_and_what_is_mistaken_for_what(make_run):
    async with made(make_run, 12).run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down")
        assert "best         L4 attn_out" in text  # 0.80 there, 0.79 in the stream
        assert "L1 resid_post" in text and "[0.510, 0.760]" in text and "selectivity  +0.000" in text
        assert "Europe" in text and "[/b]" in text and "\x1b" not in text
        row = next(line for line in text.splitlines() if "│  Europe" in line and "Europe  " in line)
        assert row.split()[-2:] == ["9", "11"]
        text = await look(pilot, "s", "m")
        assert "‹attn_out›" in text and "the control's in grey" in text and "L1 attn_out" in text


async def test_while_it_runs_the_layers_probed_so_far_and_before_that_what_it_does(make_run):
    async with made(make_run, 2).run_test(size=(80, 24)) as pilot:
        text = await look(pilot)
        assert "L1" in text and "L2" not in text and "best L1 resid_post" in text
    empty = made(make_run, 0, folder_name="20260921-000001-probe-empty")
    async with empty.run_test(size=(80, 24)) as pilot:
        assert "reading activations" in await look(pilot)


async def test_what_does_not_fit_is_left_out(make_run):
    broken = [Metrics("cells", 0, {"place": None, "layer": "x"}), Metrics("cells", 1, {"places": "no", "layer": -1})]
    broken += [Metrics("cells", 2, {"place": "z", "layer": 0, "places": ["z"], "layers": 1e400, "classes": [1, 2], "confusion": [[1]]})]
    async with made(make_run, 0, events=[RunStarted("probe", "x"), *broken]).run_test(size=(80, 24)) as pilot:
        assert "L0" in await look(pilot)
