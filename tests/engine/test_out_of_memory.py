"""Memory that runs out, in every kind: work goes on in halves, says so in the run's log, and gives the numbers of an undisturbed run.

Blocks and the unembedding refuse more than one row (`out_of_memory.py`), in the words of every back end in turn. What a kind then gives is
held to the run without that by TOLERANCE: sums of float32 over rows in another order. A kind that is added is here by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine import catalog, manifest, supervisor, worker
from out_of_memory import room_for
from torture.real_runs import finished
from torture.requests import small

ELSEWHERE = {
    "attribution_graph": "its small request runs no model: tests/engine/features/test_attribution.py",
    "calibrate": "samples as `sample` does, cell by cell",
    "certify": "has no language model",
    "development": "is llc and susceptibilities, one checkpoint after another",
    "inspect": "runs a model by what `records` does",
    "llc": "samples as `sample` does",
    "match": "has no model",
    "pipeline": "its steps are runs of their own",
}
KINDS = sorted(kind.name for kind in catalog.kinds() if kind.name not in ELSEWHERE)
SHORTER: dict[str, dict[str, Any]] = {
    "train_sae": {"tokens": 2_000, "batch_size": 200},
    "contrast": {"draws": 3},
    "attention": {"score_rows": 2, "score_length": 8},
    "steer": {"strengths": [1.0, 2.0], "draws": 3},
    "probe": {"permutations": 0},
    "sample": {"num_draws": 4},
    "bif": {"num_draws": 4},
    "susceptibilities": {"num_draws": 4},
}
TOLERANCE = 1e-3
"""Relative to the largest number beside it: float32 through four blocks, chains of some steps, and Adam, which enlarges roundings."""
TIMES = ("seconds", "per_second", "told")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_do_not_fit_pass_in_halves(kind: str, tmp_path: Path) -> None:
    undisturbed = finished(kind, tmp_path / "undisturbed", SHORTER.get(kind))
    with room_for(1) as refused:
        disturbed = finished(kind, tmp_path / "disturbed", SHORTER.get(kind))
    said = [line for line in (disturbed.path / "events.jsonl").read_text().splitlines() if "out of memory" in line]
    assert refused, "its small request runs one row at a time, which shows nothing"
    assert said, "each halving is in the run's log"
    assert not list(differences(undisturbed.result(), disturbed.result()))


def test_one_row_that_does_not_fit_is_said_in_a_sentence(tmp_path: Path) -> None:
    folder = supervisor.prepare(manifest.resolve(small("attention")), tmp_path / "run")
    with room_for(0):
        worker.work(folder, 0)
    ended = json.loads((folder.shard(0) / "exit.json").read_text())
    assert ended["state"] == "failed" and ended["reason"] == "out of memory"
    assert "shorten prompts or context" in ended["advice"]


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two results differ by more than TOLERANCE."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if not key.endswith(TIMES):
                yield from differences(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        if one and all(isinstance(value, float) for value in one + other):
            size = max([1e-3, *map(abs, one)])
            if max(abs(a - b) for a, b in zip(one, other, strict=True)) > TOLERANCE * size:
                yield f"{place}: {one} {other}"
        else:
            for index, pair in enumerate(zip(one, other, strict=True)):
                yield from differences(*pair, f"{place}[{index}]")
    elif isinstance(one, float) and isinstance(other, float):
        if abs(one - other) > TOLERANCE * max(1e-1, abs(one), abs(other)):
            yield f"{place}: {one} {other}"
    elif one != other:
        yield f"{place}: {one!r:.60} {other!r:.60}"
