"""An app that stays attached to a run keeps what it shows, and no more for every line that the run says."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_run import sampling
from on_screen import press, ready, shown

from interp_tui.app import InterpApp
from interp_tui.runs import runstate
from interp_tui_engine.events import Checkpoint, Event, Metrics, Stamped, to_line
from interp_tui_engine.runfolder import RunFolder

pytestmark = pytest.mark.usefixtures("settle")
MakeRun = Callable[..., RunFolder]
KEPT = 40


def kinds_of_objects() -> Counter[str]:
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


def say(folder: RunFolder, events: Iterator[Event], start: int) -> None:
    with folder.events_path.open("a", encoding="utf-8") as log:
        log.writelines(to_line(Stamped(start + seq, 0.0, event)) + "\n" for seq, event in enumerate(events))


async def test_no_object_is_kept_for_each_line_of_a_run(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runstate, "NOTES", KEPT)  # as after hours, when as many are kept as may be
    folder = make_run("long", state="running")
    say(folder, iter(sampling(8)), 1)
    app = InterpApp(Path(folder.path).parent, folder.path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)

        async def hear(first: int, count: int) -> Counter[str]:
            for start in range(first, first + count, 50):  # as many looks as at a run that goes on
                steps = range(start, start + 50)
                say(folder, (event for step in steps for event in (Checkpoint("checkpoint", step), *metrics(step))), 100 + 2 * start)
                await ready(pilot)
            return kinds_of_objects()

        def metrics(step: int) -> tuple[Event, ...]:
            return (Metrics("estimate", 0, {"llc_mean": float(step)}),)

        before = await hear(0, 200)
        grown = await hear(200, 400) - before
        assert grown["DeferredRender"] == grown["Stamped"] == grown["Text"] == 0
        assert grown.total() < 400, grown.most_common(8)
        await press(pilot, "shift+tab")
        assert "599" in shown(screen)
