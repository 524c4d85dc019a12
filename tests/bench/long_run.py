"""A finished run with many events, as a supervisor would have left it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from interp_tui_engine.events import Event, Metrics, Phase, Progress, RunFinished, RunStarted, Stamped, to_line
from interp_tui_engine.runfolder import RunFolder, Status

CHAINS = 4
MANIFEST = """kind = "llc"
name = "long"

[model]
source = "builtin:tiny"

[data.train]
source = "builtin:prose"
context = 64
rows = 512

[params]
lr = 1e-4
n_beta = 30.0
num_chains = 4
num_draws = 100000
sampling_data = "train"
"""
LAST_GRADIENT = 7.531
"""Gradient norm of every chain in the last metrics event, unlike any before it: on screen it shows that all events were read."""


def write(path: Path, events: int) -> RunFolder:
    """A done llc run of exactly this many events."""
    folder = RunFolder.create(path)
    folder.manifest_path.write_text(MANIFEST)
    now = time.time()
    with folder.events_path.open("w", encoding="utf-8") as file:
        for seq, event in enumerate(_events(events), 1):
            file.write(to_line(Stamped(seq, now - events + seq, event)) + "\n")
    headline = {"llc_mean": 21.5, "llc_std": 0.5}
    status = Status(state="done", kind="llc", name="long", model="builtin:tiny", done=events, total=events, unit="steps", headline=headline)
    folder.write_status(Status(**{**{f: getattr(status, f) for f in status.__dataclass_fields__}, "started": now - events, "updated": now}))
    return folder


def _events(count: int) -> Iterator[Event]:
    """Start, phase, then progress and metrics in turn as a worker sends them twice a second, end."""
    random = np.random.default_rng(0)
    yield RunStarted("llc", "long", "cpu")
    yield Phase("sampling")
    reports = count - 3
    draws = reports // 2 + 1
    for i in range(reports):
        if i % 2 == 0:
            yield Progress(i, reports, "steps", float(reports - i))
            continue
        draw = i // 2
        last = i >= reports - 2
        losses = [round(float(x), 6) for x in random.normal(9.0, 0.1, CHAINS)]
        values = {
            "chains": list(range(CHAINS)),
            "step": [draw] * CHAINS,
            "steps_total": draws,
            "draws": [draw] * CHAINS,
            "draws_total": draws,
            "burnin": 0,
            "loss": losses,
            "llc": [21.5] * CHAINS,
            "grad": [LAST_GRADIENT if last else 0.51] * CHAINS,
            "distance": [1.73] * CHAINS,
            "trace": [[[draw, x]] for x in losses],
        }
        yield Metrics("chains", draw, values)
    yield RunFinished("done", float(count), {"llc_mean": 21.5})
