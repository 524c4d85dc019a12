"""How soon a run gives its first numbers, and what a sweep and a pipeline take, with workers started ahead and without.

From the app: New run is opened on the settings of an `llc` of the embedded model (two batches for the loss at w0, no burn-in, one thread),
left alone until the spare worker has imported what it needs, as it has while somebody reads a form; then Enter is pressed. Wall time goes
from there to the event of the first draw, by the run's own log. Processor time is that of the supervisor and worker over the same stretch.
A sweep of eight such runs, and a pipeline of three, are run whole, one after another with spares and without; their digests must be equal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import tomli

from interp_tui_engine import manifest, supervisor
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision.executors import spare_process

from . import machine
from .figures import Figure, of_rounds, ratio
from .side import ROOT, SCRATCH

RUN: dict[str, Any] = {
    "kind": "llc",
    "name": "start",
    "seed": 100,
    "model": {"source": "builtin:tiny", "device": "cpu"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 64}},
    "params": {
        "lr": 2.5e-5, "n_beta": 30.0, "localization": 1000.0, "num_chains": 2, "num_draws": 20, "num_burnin_steps": 0, "batch_size": 4,
        "num_init_loss_batches": 2, "sampling_data": "train", "observables": {},
    },
    "compute": {"threads": 1},
}  # fmt: skip
SIDES = {"spare": False, "none": True}
"""Whether nothing is to be started ahead, by the side's name."""


def run(quick: bool) -> dict[str, Any]:
    """Interleaved rounds of each."""
    SCRATCH.mkdir(exist_ok=True)
    work, busy = Path(tempfile.mkdtemp(dir=SCRATCH, prefix="start-")), machine.others_load()
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {}
    try:
        for what, times in (("enter", 2 if quick else 7), ("sweep", 1 if quick else 3), ("pipeline", 1 if quick else 3)):
            rounds[what] = {side: [] for side in SIDES}
            for number in range(times):
                for side in list(SIDES)[:: 1 if number % 2 else -1]:
                    found = _measured(what, SIDES[side], work / f"{what}-{number}-{side}")
                    rounds[what][side].append(found)
                    print(f"{what} {number + 1}/{times}, {side}: {found}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {"figures": [*_figures(rounds), Figure("cores busy with other work", busy, "cores")], "rounds": rounds}


def _figures(rounds: dict[str, dict[str, list[dict[str, Any]]]]) -> Iterator[Figure]:
    def of(what: str, side: str, key: str) -> list[float]:
        return [float(each[key]) for each in rounds[what][side]]

    note = "llc, builtin:tiny, one thread"
    yield of_rounds("Enter to the first draw, with a spare", of("enter", "spare", "wall"), "s", "< 1", note)
    yield of_rounds("Enter to the first draw, none", of("enter", "none", "wall"), "s")
    yield of_rounds("the same, processor time, with a spare", of("enter", "spare", "cpu"), "s")
    yield of_rounds("the same, processor time, none", of("enter", "none", "cpu"), "s")
    for what, note in (("sweep", "eight points"), ("pipeline", "three steps")):
        equal = {json.dumps(each["digests"]) for side in SIDES for each in rounds[what][side]}
        assert len(equal) == 1, f"the digests of the {what} depend on who computes it"
        for key, name in (("wall", ""), ("cpu", ", processor time")):
            for side in SIDES:
                yield of_rounds(f"{what}{name}, {side}", of(what, side, key), "s", None, note if side == "spare" else "")
            yield ratio(f"{what}{name}, spare / none", of(what, "spare", key), of(what, "none", key), note="digests equal")


def _measured(what: str, without: bool, folder: Path) -> dict[str, Any]:
    """One round in a process of its own."""
    environment = supervisor.environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    environment |= {"INTERP_TUI_CONFIG": str(folder.parent / "config"), "INTERP_TUI_STATE": str(folder.parent / "state")}
    environment.pop(spare_process.WITHOUT, None)
    if without:
        environment[spare_process.WITHOUT] = "1"
    command = [sys.executable, "-m", "tests.bench.start", what, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


async def entered(root: Path) -> dict[str, Any]:
    """Press Enter in New run, and see when the run has its first draw."""
    from interp_tui.app import InterpApp
    from interp_tui.screens.new_run import NewRunScreen

    template = supervisor.prepare(manifest.resolve(RUN), root / "template" / "run")

    class OnNewRun(InterpApp):
        CSS_PATH = InterpApp.CSS_PATH

        def on_mount(self) -> None:
            super().on_mount()
            self.new_run(None, template)

    async with OnNewRun(root / "runs").run_test(size=(140, 40)) as pilot:
        app = pilot.app
        while not isinstance(app.screen, NewRunScreen) or app.screen.checked is None:
            await pilot.pause(0.05)
        await pilot.pause(0.5)
        while not _idle(ready := psutil.Process().children(recursive=True)):
            await pilot.pause(0.5)
        before, pressed = _seconds(ready), time.time()
        await pilot.press("enter")
        while (first := _first_draw(root / "runs")) is None:
            await pilot.pause(0.02)
        after = _seconds(psutil.Process().children(recursive=True))
        (folder,) = (RunFolder(path.parent) for path in (root / "runs").glob("*/status.json"))
        while folder.status().state != "done":
            await pilot.pause(0.1)
    return {"wall": first - pressed, "cpu": after - before, "started_ahead": len(ready)}


def _idle(processes: list[psutil.Process]) -> bool:
    """Whether the processes started ahead, if that is wanted, have imported what they will need."""
    if os.environ.get(spare_process.WITHOUT):
        return True
    before = _seconds(processes)
    time.sleep(1.5)
    return len(processes) == 2 and _seconds(processes) - before < 0.02


def _seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _first_draw(runs: Path) -> float | None:
    """When the first run there made its first step, by its worker's log."""
    for log in runs.glob("*/shards/0/events.jsonl"):
        for line in log.read_text().splitlines():
            if '"progress"' in line and (event := json.loads(line))["done"] > 0:
                return float(event["t"])
    return None


def whole(what: str, folder: Path) -> dict[str, Any]:
    """A sweep or a pipeline to its end."""
    tables: dict[str, Any]
    if what == "sweep":
        tables = {**RUN, "sweep": {"params.lr": [(1 + point) * 5e-6 for point in range(8)]}}
    else:
        step = {key: value for key, value in RUN.items() if key not in ("name", "seed")}
        steps = {name: {**step, "params": {**RUN["params"], "lr": lr}} for name, lr in (("a", 1e-5), ("b", 2e-5), ("c", 3e-5))}
        tables = {"kind": "pipeline", "name": "start", "seed": 100, "step": [{"id": name, **each} for name, each in steps.items()]}
    made = supervisor.prepare(manifest.resolve(tables), folder)
    began = time.monotonic()
    process = subprocess.Popen([*supervisor.COMMAND, str(made.path)], env=supervisor.environment())
    _, code, used = os.wait4(process.pid, 0)
    assert code == 0, made.status().exit
    digests = tomli.loads(made.manifest_path.read_text())["result"]["sha256"]
    return {"wall": time.monotonic() - began, "cpu": used.ru_utime + used.ru_stime, "digests": digests}


if __name__ == "__main__":
    import asyncio

    asked, place = sys.argv[1], Path(sys.argv[2])
    place.parent.mkdir(parents=True, exist_ok=True)
    print(json.dumps(asyncio.run(entered(place)) if asked == "enter" else whole(asked, place)))
