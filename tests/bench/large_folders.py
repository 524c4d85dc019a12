"""Large things as this program would have left them: a folder of ten thousand runs, an inspect run of fifty thousand features."""

from __future__ import annotations

import random
import time
from pathlib import Path

from interp_tui_engine import atomic
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted, Stamped, to_line
from interp_tui_engine.runfolder import Owner, RunFolder, Status

KINDS = ("llc", "causal_trace", "train_sae", "attention", "susceptibilities")
FIRST_OF_ALL = "run-00000"
"""Name of the oldest run: it stands last in the list."""
LAST_FEATURE = "SAE:L3:F49999"
ENDED_BY = Owner("elsewhere", "none", 1, 1.0)


def runs(root: Path, count: int) -> None:
    """`count` ended runs, a minute apart, the last of them now; a fifth of them failed."""
    now = time.time()
    numbers = random.Random(0)
    for place in range(count):
        started = now - 60.0 * (count - place)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(started))
        kind, name = KINDS[place % len(KINDS)], f"run-{place:05d}"
        folder = RunFolder(root / f"{stamp}-{kind}-{name}")
        folder.path.mkdir(parents=True)
        folder.manifest_path.write_text(f'kind = "{kind}"\nname = "{name}"\n\n[model]\nsource = "builtin:tiny"\n', encoding="utf-8")
        failed = place % 5 == 4
        headline = {"llc_mean": numbers.uniform(5, 90), "llc_std_error": numbers.uniform(0.2, 2.0), "rhat": 1.01} if kind == "llc" else {}
        headline |= {"recovery": numbers.random(), "peak": "resid_post L0 ' France'"} if kind == "causal_trace" else {}
        folder.write_status(
            Status(
                state="failed" if failed else "done",
                kind=kind,
                name=name,
                model="builtin:tiny",
                done=100.0,
                total=100.0,
                unit="draws",
                headline={} if failed else headline,
                device="cpu",
                owner=ENDED_BY,
                started=started,
                updated=started + 40.0,
                exit={"code": 1, "reason": "loss not finite at step 31"} if failed else {"code": 0},
                folder=str(folder.path),
            )
        )


def features(path: Path, count: int, cards: int = 50) -> RunFolder:
    """A done inspect run that ranked `count` features, the best `cards` of them with a card."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    folder.manifest_path.write_text('kind = "inspect"\nname = "wide"\n', encoding="utf-8")
    rows = range(count)
    numbers = random.Random(1)
    area = sorted((numbers.betavariate(6, 4) for _ in rows), reverse=True)
    names = [f"SAE:L{row % 4}:F{row}" for row in rows]
    columns = {
        "feature_id": names,
        "model": ["builtin:tiny"] * count,
        "layer": [row % 4 for row in rows],
        "label": [f"fires after word {row} of a sentence on cities" for row in rows],
        "rank": [row + 1 for row in rows],
        "tier": ["associated" if row < 500 else None for row in rows],
        "auroc": area,
        "auroc_low": [value - 0.02 for value in area],
        "auroc_high": [value + 0.02 for value in area],
        "direction": [1 if value > 0.5 else -1 for value in area],
        "correlation": [2 * value - 1 for value in area],
        "q": [numbers.random() for _ in rows],
        "family_p": [numbers.random() for _ in rows],
        "stability": [numbers.random() for _ in rows],
        "specificity": [numbers.random() for _ in rows],
        "fires": [numbers.randrange(10_000) for _ in rows],
        "effect": [numbers.gauss(0, 1) if row < 500 else None for row in rows],
        "effect_low": [-1.0 if row < 500 else None for row in rows],
        "effect_high": [1.0 if row < 500 else None for row in rows],
        "clear": [row < 20 for row in rows],
        "side_effect": [0.01 if row < 500 else None for row in rows],
        "control": [0.05 if row < 500 else None for row in rows],
    }
    pq.write_table(pa.table(columns), folder.path / "features.parquet")
    shown = [{"feature_id": name, "metadata": {"promotes": [" Lima"], "suppresses": [" the"]}} for name in names[:cards]]
    atomic.write_json(folder.path / "report.json", {"criterion": {"text": "the next token is a capital city"}, "cards": shown})
    events = [
        RunStarted("inspect", "wide", device="cpu"),
        Phase("ranking", f"{count:,} features"),
        Metrics("records", 800, {"rows": 800, "features": count}),
        Progress(count, count, "features", 0.0),
        RunFinished("done", 20.0, {"top": names[0], "auroc": area[0], "associated": 500, "causal": 20}),
    ]
    now = time.time()
    lines = (to_line(Stamped(seq, now + seq, event)) + "\n" for seq, event in enumerate(events))
    folder.events_path.write_text("".join(lines), encoding="utf-8")
    atomic.write_json(folder.result_path, {"kind": "inspect", "name": "wide", "schema_version": 1, "causal": 20, "associated": 500})
    status = Status("done", "inspect", "wide", "builtin:tiny", count, count, "features", owner=ENDED_BY, started=now - 20, updated=now)
    folder.write_status(status)
    return folder
