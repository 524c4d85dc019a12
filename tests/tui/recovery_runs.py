"""Causal traces that never ran: cells as a worker tells of them, and a run folder with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted

TOKENS = ["The", " capital", " of", " France", " is"]
LAYERS, HEADS, FIRST, LAST = 6, 3, 3, 4


def batches(pairs: int = 1, upto: int = LAYERS, tokens: list[str] = TOKENS) -> list[dict[str, Any]]:
    """What a run tells of: the fact leaves its token for the last one after layer 3."""
    found = []
    for pair in range(pairs):
        for kind in range(3):
            cells, values = [], []
            for layer in range(upto):
                for position in (FIRST, LAST):
                    for head in range(HEADS if kind == 2 else 1):
                        moved = layer > 3
                        value = (0.98 if (position == LAST) == moved else 0.04 * layer) / (1 + kind) - 0.1 * head + 0.01 * pair
                        cells.append([kind, layer, position, head])
                        values.append(round(value, 4))
            batch = {"pair": pair, "clean_metric": 9.07, "corrupt_metric": -9.35, "cells": cells, "recovery": values}
            if kind == 0:
                batch |= {
                    "pairs": pairs, "sites": ["resid_post", "attn_out"], "heads": HEADS, "layers": LAYERS, "first": FIRST, "last": LAST,
                    "metric": "logit_diff", "tokens": tokens, "corrupt_tokens": [*tokens[:3], " Japan", " is"],
                    "answer": [" Paris"], "counterfactual": [" Tokyo"],
                }  # fmt: skip
            found.append(batch)
    return found


def events(told: list[dict[str, Any]], done: bool = True) -> list[Any]:
    cells = [Metrics("cells", step, batch) for step, batch in enumerate(told)]
    found = [
        RunStarted("causal_trace", "france-japan", device="cpu"),
        Phase("patching"),
        *cells,
        Progress(36 if done else 12, 36, "patches"),
    ]
    return [*found, RunFinished("done", 0.9, {"clean_metric": 9.07, "corrupt_metric": -9.35})] if done else found


def run(make_run: Callable[..., Any], told: list[dict[str, Any]], state: str = "done") -> Any:
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"clean": "".join(TOKENS)}}
    return make_run(
        "france-japan", kind="causal_trace", state=state, tables=tables, unit="patches", events=events(told, state == "done"), total=36,
        done=36 if state == "done" else 12, headline={"clean_metric": 9.07, "corrupt_metric": -9.35},
    )  # fmt: skip
