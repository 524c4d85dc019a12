"""The work of `interp_work` with this engine's functions on the same model."""

from __future__ import annotations

from functools import cache
from typing import Any

import interp_tui_engine as engine

from .interp_work import CLEAN, CORRUPT, Numbers


@cache
def model() -> Any:
    return engine.load_model("builtin:tiny", revision="final", device="cpu")


def numbers() -> dict[str, Numbers | None]:
    lens = engine.logit_lens(model(), CLEAN, " Paris")
    early = engine.logit_lens(model(), CLEAN, " France", position=2)
    pair = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " Paris", "counterfactual": " Tokyo", "sites": ("resid_post",)}
    first = engine.causal_trace(model(), **pair)
    grid = first.recovery["resid_post"]
    best = int(grid.argmax())
    return {
        "lens": [*lens.answer_prob.tolist(), *map(float, lens.answer_rank.tolist()), float(_or(lens.crossover_layer, -1))],
        "lens_top": [float(ord(top.strip()[:1] or " ")) for top in lens.top_token],
        "lens_position": [*early.answer_prob.tolist(), *map(float, early.answer_rank.tolist())],
        "trace": [first.clean_metric, first.corrupt_metric, *grid.flatten().tolist()],
        "trace_prob": engine.causal_trace(model(), **pair, metric="answer_prob").recovery["resid_post"].flatten().tolist(),
        "peak": [float(best // grid.shape[1]), float(best % grid.shape[1]), float(grid.max())],
        "positions": [float(i) for i, (a, b) in enumerate(zip(first.tokens, first.corrupt_tokens, strict=True)) if a != b],
        "no_difference": [float(_raises({**pair, "corrupt": CLEAN}))],
        "unequal": [float(_raises({**pair, "corrupt": "The capital of the United Kingdom is"}))],
    }


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _raises(pair: dict[str, Any]) -> bool:
    try:
        engine.causal_trace(model(), **pair)
    except ValueError:
        return True
    return False
