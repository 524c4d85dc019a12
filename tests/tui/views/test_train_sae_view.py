"""The view of SAE training: live, finished, several dictionaries, nothing yet, and whatever else a log may hold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from interp_tui.app import InterpApp
from interp_tui.runs.runstate import RunState
from interp_tui.views import train_sae_facts as sae_facts
from interp_tui.views import view_for
from interp_tui.views.train_sae import TrainSaeView
from interp_tui.widgets.histogram import Histogram, render
from interp_tui_engine.events import Event, Metrics, Phase, Progress, RunFinished, RunStarted, Stamped, Warned, to_line
from interp_tui_engine.payload import read
from interp_tui_engine.results.train_sae import TrainSAEHeadline
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
pytestmark = pytest.mark.usefixtures("settle")
NAMES = ["topk-1024-k32", "jumprelu-1024-k32", "relu-1024-l1_0.01"]
TABLES: dict[str, Any] = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"layer": 2}}
RESULT: dict[str, Any] = {
    "kind": "train_sae", "name": "l2", "schema_version": 1, "seconds": 64.0, "fvu": 0.113, "l0": 31.9, "dead_fraction": 0.012,
    "latents": 1024, "ce_loss_recovered": 0.976, "ce_loss_recovered_from_mean": 0.97, "ce_clean": 3.13, "ce_sae": 3.24, "kl": 0.137,
    "tokens": 1_161_216, "distinct_tokens": 116_109, "tokens_per_second": 21_522.7, "sae": "sae",
}  # fmt: skip


@pytest.fixture(autouse=True)
def utc() -> None:
    time.tzset()


def training(stop: int, count: int, total: int = 1200) -> list[Event]:
    """A run's events up to a step, for so many dictionaries."""
    found: list[Event] = [RunStarted("train_sae", "l2", device="cpu"), Phase("training", "topk")]
    for step in range(20, stop + 1, 20):
        found.append(Progress(step, total, "steps", (total - step) / 20))
        found.append(
            Metrics("training", step, {"tokens": step * 1024, "tokens_per_second": 21_522.7, "lr": 2e-3, "memory_bytes": 547_000_000})
        )
        shapes = []
        for index in range(count):
            fvu = 0.11 + 0.03 * index + (1.2 - 0.2 * index) * math.exp(-step / 90)
            dead = 0.012 if index < 2 else min(0.41, step / 2000)
            l0 = 32.0 if index == 0 else 30 + 40 * math.exp(-step / 200) * index
            found.append(Metrics(f"sae{index}", step, {"fvu": fvu, "l0": l0, "dead_fraction": dead, "loss": fvu * 128}))
            counts = [round(160 * math.exp(-(((bar - 14 + index) / 3.2) ** 2))) for bar in range(24)]
            shapes.append({"low": -6.0, "high": 0.0, "counts": counts, "dead": round(dead * 1024), "latents": 1024})
        found.append(Metrics("histogram", step, {"names": NAMES[:count], "saes": shapes}))
        if step % 120 == 0:
            found += [Metrics(f"loss{i}", step, {"ce_loss_recovered": 0.97 - 0.1 * math.exp(-step / 150) - 0.03 * i}) for i in range(count)]
    return found


@pytest.fixture
def run(make_run: MakeRun) -> MakeRun:
    def make(events: list[Event], state: str = "running", **changes: Any) -> RunFolder:
        result = RESULT if state == "done" else None
        return make_run("l2", kind="train_sae", state=state, tables=TABLES, events=events, result=result, unit="steps", **changes)

    return make


def test_one_dictionary_live_in_a_small_terminal(run: MakeRun, snap: Any) -> None:
    folder = run(training(480, 1), done=480, total=1200)
    assert snap(InterpApp(folder.path.parent, folder.path), (80, 24))


def test_several_dictionaries_with_one_dying(run: MakeRun, snap: Any) -> None:
    warning = Warned("relu-1024-l1_0.01: 41% of the latents are dead: lower lr, use fewer latents, or give more tokens")
    folder = run([*training(1000, 3), warning], done=1000, total=1200)
    assert snap(InterpApp(folder.path.parent, folder.path), (140, 40), "down", "down", "m")


def test_nothing_yet_says_what_the_run_does(run: MakeRun, snap: Any) -> None:
    folder = run([RunStarted("train_sae", "l2"), Phase("reading activations", "L2.resid_post")], done=0, total=0)
    assert snap(InterpApp(folder.path.parent, folder.path), (80, 24))


def state_of(events: list[Event]) -> RunState:
    state = RunState()
    state.apply_all(Stamped(seq, float(seq), event) for seq, event in enumerate(events, 1))
    return state


def test_a_finished_run_shows_what_was_measured_on_held_out_data() -> None:
    ended = RunFinished("done", 64.0, {"fvu": 0.2, "l0": 31.0, "dead_fraction": 0.0, "ce_loss_recovered": 0.9})
    state = state_of([*training(1200, 1), ended])
    facts = {fact.label: fact for fact in sae_facts.facts(state, sae_facts.saes(state)[0], state.newest("headline", TrainSAEHeadline))}
    assert facts["FVU"].value == "0.200 held out" and facts["recovered"].value == "90.0 %" and facts["recovered"].colour == ""


def test_dead_latents_are_coloured_by_how_many() -> None:
    assert [sae_facts.dead_colour(share) for share in (None, 0.01, 0.1, 0.4)] == ["", "", "warn", "bad"]


def test_a_log_may_hold_anything() -> None:
    hostile = "\x1b]52;c;ZXZpbA==\x07[/b]"
    events: list[Event] = [
        Metrics("histogram", 1, {"names": [hostile, 3], "saes": ["x", {"counts": [None, -3, "a", 2], "low": "?", "latents": "many"}]}),
        Metrics("sae0", 1, {"fvu": math.nan, "l0": "7", "dead_fraction": None}),
        Metrics("histogram", 2, {"names": 5, "saes": {}}),
    ]
    for stop in range(1, len(events) + 1):
        state = state_of(events[:stop])
        for sae in sae_facts.saes(state):
            assert "\x1b" not in sae.name and "\x07" not in sae.name
            (
                sae_facts.facts(state, sae, read(TrainSAEHeadline, {})),
                sae_facts.row(sae, ascii=True, coloured=True),
                sae_facts.histogram(sae),
                sae_facts.histogram_title(sae),
            )


def test_histogram_bars_and_axis() -> None:
    shown = render(Histogram([0, 1, 8, 16], 0.0, 4.0, [(0.0, "0"), (4.0, "end")]), 8, 3, accent="", muted="", ascii=False).plain
    assert shown.split("\n") == ["      ██", "  ▁▁████"[:8], "0    end"]
    assert render(Histogram([3], 0, 1), 8, 2, accent="", muted="", ascii=True).plain.isascii()


def test_the_result_reads_in_order() -> None:
    text = TrainSaeView.result_text({**RESULT, "saes": [{"name": "a\x1b[2J", "fvu": 0.1, "l0": 3.0}]}, {}, ascii=False).plain
    assert view_for("train_sae") is TrainSaeView
    assert text.index("FVU") < text.index("dead") < text.index("loss recovered") < text.index("saved as")
    assert "97.6 %" in text and "1.2 % of 1,024 latents" in text and "\x1b" not in text


def test_events_survive_their_file() -> None:
    assert all("NaN" not in to_line(Stamped(1, 0.0, event)) for event in training(40, 2))
