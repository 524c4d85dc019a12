"""Activation records: how quickly many are ranked, in how much memory; how much quicker prompts are recorded in batches than one by one.

ranking: 1,000,000 rows of 64 dense features (2 GB of JSON Lines, made here, outside what is timed), through the kind `inspect` from file
to report. Every 64-bit value is written as JSON has it; 40 % of the rows are positive and one feature goes with them.
records: the kind `records` over 4,000 pieces of Python's docstrings of 3 to 12 words, on builtin:tiny, hidden dimensions of one layer,
as it is and with one prompt in each pass; the rate is its own, of the recording alone.
"""

from __future__ import annotations

import builtins
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, one_run
from .figures import Figure, of_rounds, ratio
from .side import SCRATCH

FEATURES, PROMPTS = 64, 4000


def ranking(quick: bool) -> dict[str, Any]:
    """rows/s from file to report, and the highest resident size."""
    rows, rounds = (50_000, 1) if quick else (1_000_000, 2)
    work = _scratch()
    try:
        path = work / "records.jsonl"
        _write(path, rows)
        params = {"criterion": "the planted feature is high", "records": [str(path)]}
        tables = {"kind": "inspect", "name": "bench", "params": params}
        load = machine.others_load()
        found = [one_run.measure(tables, work / str(index)) for index in range(rounds)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    assert all(one["result"]["rows"] == rows and one["result"]["associated"] == 1 for one in found)
    rates = [rows / one["seconds"] for one in found]
    note = f"{rows:,} rows × {FEATURES} features, file to report"
    figures = [
        of_rounds("ranked", rates, "rows/s", "≥ 20000", note),
        Figure("peak memory", max(one["peak_mib"] for one in found), "MiB", target="< 1500"),
        Figure("cores busy with other work", load, "cores"),
    ]
    return {"figures": figures, "rounds": {"seconds": [one["seconds"] for one in found]}}


def records(quick: bool) -> dict[str, Any]:
    """prompts/s in batches and one by one, taking turns."""
    work, found = _scratch(), {"batched": [], "one": []}  # type: tuple[Path, dict[str, list[float]]]
    path = work / "prompts.jsonl"
    words = " ".join(doc for value in vars(builtins).values() if (doc := getattr(value, "__doc__", None))).split()
    rng = np.random.default_rng(0)
    lengths, starts = rng.integers(3, 13, PROMPTS), rng.integers(0, len(words) - 41, PROMPTS)
    lines = ({"text": " ".join(words[s : s + n]), "criterion_score": int(s % 2)} for s, n in zip(starts, lengths, strict=True))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    params = {"prompts": str(path), "features": "hidden", "layers": [2]}
    try:
        for index in range(1 if quick else 5):
            for name, tokens in (("batched", None), ("one", 1)):
                tables = {"kind": "records", "name": "bench", "model": {"source": "builtin:tiny"}}
                answer = one_run.measure(
                    tables | {"params": params | ({"batch_tokens": tokens} if tokens else {})}, work / f"{name}-{index}"
                )
                found[name].append(answer["result"]["prompts_per_second"])
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = [of_rounds("recorded in batches", found["batched"], "prompts/s"), of_rounds("one by one", found["one"], "prompts/s")]
    figures.append(ratio("batched / one by one", found["batched"], found["one"], "≥ 5"))
    return {"figures": figures, "rounds": found}


def _write(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"L6:D{index}" for index in range(FEATURES)]
    with path.open("w") as file:
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            values, positive = rng.standard_normal((count, FEATURES)), rng.random(count) < 0.4
            values[:, 7] += positive
            for row in range(count):
                line: dict[str, Any] = {
                    "model": "bench",
                    "prompt_id": f"p{start + row}",
                    "text": f"The text of prompt {start + row}.",
                }
                line |= {"criterion_score": float(positive[row])}
                features = dict(zip(names, values[row].tolist(), strict=True))
                file.write(json.dumps({**line, "features": features}, separators=(",", ":")) + "\n")


def _scratch() -> Path:
    SCRATCH.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(dir=SCRATCH, prefix="evidence-"))
