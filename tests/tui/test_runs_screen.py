"""The Runs screen: how it looks in every state, and what its keys do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp_tui.app import InterpApp
from interp_tui_engine.events import ChainFailed, Event, Metrics, Progress, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
Settle = Callable[[Any], Any]
LLC_TABLES = {
    "seed": 100,
    "model": {"source": "builtin:tiny"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 512}},
    "params": {"lr": 1e-4, "n_beta": 30.0, "localization": 100.0},
}
LLC = {"llc_mean": 38.214, "llc_std": 0.91, "rhat": 1.02, "ess": 311.0}
SIZES = [(80, 24), (140, 40)]
IDS = ["80x24", "140x40"]
at_both_sizes = pytest.mark.parametrize("size", SIZES, ids=IDS)


def losses(count: int = 60) -> list[Event]:
    """A loss that climbs from its start and levels off, as under SGLD."""
    trace: list[Event] = [RunStarted("llc", "x", device="cpu")]
    for step in range(count):
        loss = 3.42 - 0.12 * 0.93**step
        trace.append(Metrics("chains", step, {"loss": [loss + 0.01 * ((7 * step + 3 * chain) % 5) for chain in range(4)]}))
    return [*trace, Progress(count, count, "draw")]


def every_state(make_run: MakeRun) -> None:
    """One run in each state, as a researcher's folder might look after a week."""
    make_run(
        "pythia-scan",
        state="running",
        age=240,
        model="pythia-70m",
        done=142,
        total=200,
        headline=LLC,
        eta=72.0,
        events=losses(),
        device="cuda:0",
    )
    make_run("l6-8k", kind="sample", state="paused", age=1260, model="SmolLM2-135M", done=56, total=200, events=losses(30))
    make_run("winding-down", state="stopping", age=1500, done=80, total=100, headline=LLC)
    make_run("tiny", state="done", age=3700, headline=LLC, events=losses(), result=LLC | {"kind": "llc"})
    make_run("docs-vs-code", kind="sample", state="crashed", age=3 * 3600, done=41, exit={"reason": "owner gone"})
    make_run(
        "too-hot",
        state="failed",
        age=86400,
        done=31,
        exit={"reason": "all 4 chains failed", "advice": "lower lr or raise localization"},
        events=[ChainFailed(2, 31, "loss is not finite")],
    )
    make_run(
        "overnight",
        state="interrupted",
        age=2 * 86400,
        done=12,
        total=4000,
        exit={"reason": "stopped with a checkpoint", "advice": "resume goes on from here"},
    )
    make_run("next-one", state="queued", age=9 * 86400)


def two_runs(make_run: MakeRun) -> None:
    """The same experiment at two step sizes."""
    for name, lr, shift in (("cold", 1e-5, 0.0), ("warm", 1e-4, 3.2)):
        tables = LLC_TABLES | {"params": LLC_TABLES["params"] | {"lr": lr}, "provenance": {"git_commit": name * 3, "python": "3.11.9"}}
        values = {"kind": "llc", "name": name, "llc_mean": 38.214 + shift, "llc_std": 0.91, "healthy_chains": 4, "seconds": 61.2 + shift}
        make_run(name, tables=tables, result=values, headline=LLC, age=600 - 10 * shift)


@at_both_sizes
def test_look_empty(snap: Any, runs_root: Path, size: tuple[int, int]) -> None:
    assert snap(InterpApp(runs_root), size)


@at_both_sizes
def test_look_all_states(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size)


@at_both_sizes
def test_look_failed_preview(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "down", "down", "down", "down", "down")


@at_both_sizes
def test_look_filtered(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "/", "type:kind=llc&done", "enter")


@at_both_sizes
def test_look_confirm_delete(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "down", "down", "down", "d")


@at_both_sizes
def test_look_help(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "?")


@at_both_sizes
def test_look_palette(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    every_state(make_run)
    assert snap(InterpApp(runs_root), size, "ctrl+p", "type:tiny")


@at_both_sizes
def test_look_compare(snap: Any, runs_root: Path, make_run: MakeRun, size: tuple[int, int]) -> None:
    two_runs(make_run)
    assert snap(InterpApp(runs_root), size, "c", "down", "c")


@pytest.mark.parametrize("theme", ["ascii", "light", "high-contrast", "colour-blind-safe"])
def test_look_theme(snap: Any, runs_root: Path, make_run: MakeRun, theme: str) -> None:
    every_state(make_run)
    app = InterpApp(runs_root)
    app.theme = theme
    assert snap(app, (80, 24))
