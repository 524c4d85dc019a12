"""Run folders of susceptibilities and influence that never ran: events, result, arrays and tokens as their workers leave them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr

from interp_tui_engine.events import Event, Metrics, Phase, Progress, RunFinished, RunStarted
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
WORDS = [
    " the",
    " capital",
    " of",
    " France",
    " is",
    " Paris",
    ".",
    " def",
    " return",
    " self",
    "\n",
    " [/b]",
    "\x1b]52;c;ZXZpbA==\x07",
    " 漢字",
]
ROWS, LENGTH = 3, 12


def _store(path: Any, arrays: dict[str, np.ndarray]) -> None:
    group = zarr.open_group(path, mode="w")
    for name, values in arrays.items():
        if values.dtype == object:
            array = group.create_array(name, shape=values.shape, dtype=str)
            array[...] = values
        else:
            group.create_array(name, data=values)


def _ids(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.integers(0, len(WORDS), (rows, LENGTH + 1))


PARTS = [f"l{layer}h{head}" for layer in range(4) for head in range(4)] + ["l0 mlp", "embed"]
DATA = ["code", "facts", "prose"]


def cases() -> list[dict[str, Any]]:
    draw = random.Random(5)
    found = []
    for part in PARTS:
        mean = {"code": draw.gauss(0, 0.004), "facts": draw.gauss(0.004, 0.006), "prose": 0.0}
        error = {"code": 0.0011, "facts": 0.0016, "prose": 0.0}
        covariance = {"code": 0.3 * draw.gauss(0, 0.004), "facts": 0.3 * draw.gauss(0.004, 0.006), "prose": 0.0}
        tables = {"covariance": covariance, "covariance_std_error": {name: value / 2 for name, value in error.items()}}
        tables |= {"shift": {name: mean[name] - covariance[name] for name in mean}, "shift_std_error": error}
        found.append({"restriction": part, "parameters": 8192, "mean": mean, "std_error": error, **tables})
    return found


def susceptibility_events(parts: int) -> list[Event]:
    """What the worker says until so many parts are done and the next is under way."""
    found: list[Event] = [RunStarted("susceptibilities", "heads", device="cpu"), Phase("sampling", "full, 1 of 19: 1,021,056 parameters")]
    for index, case in enumerate(cases()[:parts]):
        found.append(Metrics("case", index, case))
    if parts < len(PARTS):
        found.append(Phase("sampling", f"{PARTS[parts]}, {parts + 2} of 19: 8,192 parameters"))
        found.append(Progress(100 * parts + 140, 1900, "steps", 61.0))
        found.append(Metrics("now", 40, {"restriction": PARTS[parts], "index": parts + 1, "draws": 8, "draws_total": 20, "llc": 3.1}))
    return found


def susceptibilities(make_run: MakeRun, *, done: bool = True, parts: int = len(PARTS)) -> RunFolder:
    rng = np.random.default_rng(0)
    events = susceptibility_events(parts)
    if not done:
        return make_run("heads", kind="susceptibilities", state="running", events=events, done=440, total=1900, unit="steps", eta=61.0)
    events.append(RunFinished("done", 71.0, {"parts": len(PARTS)}))
    sus = (0.01 * rng.standard_normal((3 * ROWS * LENGTH, len(PARTS)))).astype(np.float32)
    covariance = (0.4 * sus).astype(np.float32)
    tops = {}
    for column, part in enumerate(PARTS):
        at = int(np.abs(sus[:, column]).argmax())
        data, rest = divmod(at, ROWS * LENGTH)
        row, position = divmod(rest, LENGTH)
        entry = {"observable": DATA[data], "row": row, "position": position + 1, "token": " Paris", "before": " capital of France is"}
        tops[part] = [{**entry, "value": float(covariance[at, column])}]
    table, no = cases(), {"code": False, "prose": None}
    result = {
        "kind": "susceptibilities", "name": "heads", "schema_version": 1, "restrictions": PARTS, "observables": DATA, "top_tokens": tops,
        "mean": {case["restriction"]: case["mean"] for case in table},
        "std_error": {case["restriction"]: case["std_error"] for case in table},
        "first_order": {case["restriction"]: {name: 0.9 * v for name, v in case["covariance"].items()} for case in table},
        "clear": {"covariance": {case["restriction"]: {**no, "facts": case["covariance"]["facts"] > 0.002} for case in table}},
        "agreement": {part: {"seeds": 0.12} for part in PARTS}, "ranked_by": "covariance",
    }  # fmt: skip
    folder = make_run("heads", kind="susceptibilities", events=events, result=result, done=1900, total=1900, unit="steps")
    ids = np.concatenate([_ids(rng, ROWS) for _ in DATA])
    path = folder.path / "susceptibilities.zarr"
    sizes = np.full(3, ROWS * LENGTH)
    places = {"dataset_id": np.repeat(np.arange(3), sizes), "target_position": np.tile(np.arange(1, LENGTH + 1), 3 * ROWS)}
    responses = {"sus": sus, "covariance": covariance, "first_order": 0.9 * covariance, **places}
    responses["batch"] = np.tile(np.repeat(np.arange(ROWS), LENGTH), 3)
    _store(path / "susceptibilities", responses | {"wr": np.array(PARTS, dtype=object)})
    context = {"input_ids": ids.ravel(), "dataset_id": np.repeat(np.arange(3), ROWS * (LENGTH + 1))}
    context["batch"] = np.tile(np.repeat(np.arange(ROWS), LENGTH + 1), 3)
    _store(path / "context", context | {"position": np.tile(np.arange(LENGTH + 1), 3 * ROWS)})
    (folder.path / "tokens.json").write_text(json.dumps({str(i): word for i, word in enumerate(WORDS)}), encoding="utf-8")
    return folder


def influence(make_run: MakeRun, *, per_token: bool = True) -> RunFolder:
    rng = np.random.default_rng(1)
    rows = 6 * 4
    cause = rng.standard_normal((4, 1, 40)).repeat(6, 0).reshape(rows, 1, 40)
    traces = cause * (np.arange(rows) >= 12)[:, None, None] + 2 * rng.standard_normal((rows, LENGTH, 40))
    z = traces - traces.mean(2, keepdims=True)
    z /= np.sqrt((z**2).sum(2, keepdims=True))
    full = np.einsum("iso,jto->ijst", z, z).astype(np.float32)
    matrix = full.mean((2, 3))
    upper = np.where(np.triu(np.ones((rows, rows)), 1) > 0, np.abs(matrix), -1)
    names = ["code", "facts", "[b]prose", "wiki"]
    owners = [name for name in names for _ in range(6)]
    pairs = []
    for at in np.argsort(-upper, axis=None)[:20]:
        one, two = divmod(int(at), rows)
        pairs.append({"row_1": one, "row_2": two, "data_1": owners[one], "data_2": owners[two], "value": float(matrix[one, two])})
    shape = [rows, rows, LENGTH, LENGTH] if per_token else [rows, rows]
    result = {
        "kind": "bif", "name": "which", "schema_version": 1, "shape": shape, "observables": names, "rows": [6] * 4, "top_pairs": pairs,
        "between": {a: dict.fromkeys(names, 0.01) for a in names}, "constant_count": 2, "covariance": False,
        "floor": {"standard_errors": 3.9, "pairs": rows * (rows - 1) // 2, "clear_pairs": 9}, "agreement": {"seeds": 0.83}, "no_error": "",
    }  # fmt: skip
    events: list[Event] = [RunStarted("bif", "which", device="cpu"), RunFinished("done", 71.0, {"sequences": rows})]
    folder = make_run("which", kind="bif", events=events, result=result, done=24, total=24, unit="rows")
    ids = _ids(rng, rows)
    ids[5, 3:6] = [1, 2, 3]
    error = np.full_like(matrix, 0.011)
    error[0, 1] = error[1, 0] = np.nan
    clear = (np.abs(matrix) > 0.05).astype(np.int8)
    _store(folder.path / "matrix.zarr", {"influences": matrix, "std_error": error, "clear": clear, "first_order": 0.8 * matrix})
    _store(folder.path / "bif.zarr", {"influences": full if per_token else matrix, "input_ids": ids})
    (folder.path / "tokens.json").write_text(json.dumps({str(i): word for i, word in enumerate(WORDS)}), encoding="utf-8")
    return folder
