"""The disk screen: what runs take, the largest first, and pruning that asks, leaves results alone and spares runs that go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_screen import ready, shown

from interp_tui.app import InterpApp
from interp_tui.runs import disk
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.screens.disk import DiskScreen
from interp_tui.screens.run import RunScreen
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
MIB = 1 << 20


def with_store(folder: RunFolder, size: int, name: str = "weights.zarr") -> RunFolder:
    """The run, with an array of so many bytes."""
    store = folder.path / name
    store.mkdir()
    with (store / "c").open("wb") as file:
        file.truncate(size)
    return folder


@pytest.fixture
def three(make_run: MakeRun) -> dict[str, RunFolder]:
    """Two runs that are done and one that goes on, each with an array."""
    return {
        "small": with_store(make_run("small", result={"llc_mean": 1.0}), MIB),
        "large": with_store(make_run("large", result={"llc_mean": 2.0}, age=60), 50 * MIB),
        "going": with_store(make_run("going", state="running", age=30), 20 * MIB),
    }


async def opened(pilot: Any, settle: Any) -> DiskScreen:
    await settle(pilot)
    await pilot.press("D")
    for _ in range(1000):
        screen = pilot.app.screen
        if isinstance(screen, DiskScreen) and screen.used:
            break
        await pilot.pause(0.01)
    await settle(pilot)
    assert isinstance(screen, DiskScreen)
    return screen


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_largest_comes_first(runs_root: Path, three: dict[str, RunFolder], settle: Any, size: tuple[int, int]) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, settle)
        text = shown(screen)
        assert text.index("large") < text.index("going") < text.index("small")
        assert "3 runs" in text and "52 MB" in text and "P drops them" in " ".join(text.split())
        await pilot.press("enter")
        await ready(pilot)
        assert isinstance(app.screen, RunScreen) and app.screen.folder == three["large"]


async def test_pruning_asks_and_keeps_results(runs_root: Path, three: dict[str, RunFolder], settle: Any) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = await opened(pilot, settle)
        await pilot.press("M")
        assert screen.marked == {three[name].path.name for name in ("small", "large")}, "not the one that goes on"
        await pilot.press("P")
        await settle(pilot)
        assert isinstance(app.screen, ConfirmScreen) and "2 runs: 53 MB" in shown(app.screen)
        await pilot.press("n")
        await settle(pilot)
        assert disk.stores(three["large"])
        await pilot.press("P")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert not disk.stores(three["large"]) and not disk.stores(three["small"]) and disk.stores(three["going"])
        assert three["large"].result() == {"llc_mean": 2.0}
        assert any("53 MB freed" in notice.message for notice in app._notifications) and "pruned" in shown(screen)


async def test_a_run_that_goes_on_is_not_pruned(runs_root: Path, three: dict[str, RunFolder], settle: Any) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(120, 30)) as pilot:
        screen = await opened(pilot, settle)
        screen.query_one(ListTable).move_to(three["going"].path.name)
        await pilot.press("P")
        await settle(pilot)
        assert app.screen is screen and disk.stores(three["going"])
