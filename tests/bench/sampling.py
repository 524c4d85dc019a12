"""Sampling speed and memory, ours against devinterp 2.0.1.

Both sides are long-lived processes that take turns: in each round ours does one unit, then devinterp one with torch's threads as it
finds them and one with a single thread; its better setting is what ours is compared with. A unit is one whole `sample()` call on the same
random weights (float32) and data, a draw at every step, one observable batch a draw, the store written to disk. Imports, building the
model and a first short call on each side are left out. tokens/s counts predicted positions trained on.

The flop limit of a step is (6·P·T + 2·P·T) / rate: forward and backward on T tokens and the observable's forward on T, with P the
weights that take part in matrix products (unembedding included, embedding look-up not) and the rate of float32 products measured in the
same round, at the model's own shapes and, as the ceiling, at a large square. Attention's own products count as no work here.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from . import machine, side
from .figures import Figure, of_rounds, ratio
from .shapes import POSITIONS, SHAPES, Shape

Rounds = dict[str, list[Any]]
"""What was measured, a list over rounds for each side, setting or rate."""

SPEED_TARGET = {"tiny": "≥ 1.5", "gelu": "≥ 1.5", "smollm2": "≥ 1.3"}
GPU_SPEED_TARGET = {"tiny": "≥ 5", "gelu": "≥ 5", "smollm2": "≥ 1.5"}
FLOP_TARGET = {"tiny": "≥ 0.5", "gelu": "≥ 0.5"}


def run(name: str, quick: bool) -> dict[str, Any]:
    """All rounds of one shape."""
    shape = SHAPES[name]
    rounds, draws = (2, max(2, shape.draws // 4)) if quick else (shape.rounds, shape.draws)
    with side.ours() as ours, side.devinterp() as peer:
        built = {"ours": ours.ask("build", shape=name), "devinterp": peer.ask("build", shape=name)}
        settings: dict[str, int | None] = {"default threads": None}
        if built["devinterp"]["device"] == "cpu" and built["devinterp"]["threads"] > 1:
            settings["1 thread"] = 1
        ours.ask("unit", draws=2)
        peer.ask("unit", draws=2)
        found: Rounds = {"ours": [], "load": [], "shapes": [], "square": [], **{s: [] for s in settings}}
        for number in range(rounds):
            found["load"].append(machine.others_load())
            found["ours"].append(ours.ask("unit", draws=draws))
            for setting, threads in settings.items():
                found[setting].append(peer.ask("unit", draws=draws, threads=threads))
            found["shapes"].append(machine.gflops(built["ours"]["matmuls"], shape.batch * POSITIONS, 3))
            found["square"].append(machine.square_gflops())
            said = ", ".join(f"{who} {found[who][-1]['tokens_per_second']:.0f}" for who in ("ours", *settings))
            print(f"{name} round {number + 1}/{rounds}: {said} tokens/s; {found['load'][-1]:.1f} cores busy", file=sys.stderr, flush=True)
    return {"figures": _figures(shape, built, settings, found), "built": built, "rounds": found}


def _figures(shape: Shape, built: dict[str, Any], settings: dict[str, int | None], found: Rounds) -> list[Figure]:
    def rates(who: str) -> list[float]:
        return [unit["tokens_per_second"] for unit in found[who]]

    better = max(settings, key=lambda s: median(rates(s)))
    on_gpu = built["ours"]["device"] != "cpu"
    targets = GPU_SPEED_TARGET if on_gpu else SPEED_TARGET
    figures = [of_rounds("ours", rates("ours"), "tokens/s")]
    figures += [of_rounds(f"devinterp, {s}", rates(s), "tokens/s") for s in settings]
    figures.append(ratio("ours / devinterp", rates("ours"), rates(better), targets[shape.name], f"against its better setting: {better}"))
    if not on_gpu:
        figures += _flop_figures(shape, built["ours"]["matmuls"], rates("ours"), rates(better), found)
    figures += _memory(shape, built, found, settings, on_gpu)
    figures.append(of_rounds("cores busy with other work", found["load"], "cores"))
    return figures


def _flop_figures(shape: Shape, matmuls: list[list[int]], ours: list[float], theirs: list[float], found: Rounds) -> list[Figure]:
    flops = 8 * sum(a * b for a, b in matmuls)
    figures = []
    for kind, note in (("shapes", "products at the model's own shapes"), ("square", "a 1536³ product")):
        limits = [machine.best(r) for r in found[kind]]
        ones = [r["one"] for r in found[kind]]
        figures.append(of_rounds(f"sgemm, {kind}", limits, "GFLOP/s", None, f"{note}; one thread {median(ones):.0f}"))
        for who, rate in (("ours", ours), ("devinterp", theirs)):
            target = FLOP_TARGET.get(shape.name) if who == "ours" and kind == "shapes" else None
            share = [r * flops / (limit * 1e9) for r, limit in zip(rate, limits, strict=True)]
            figures.append(of_rounds(f"of the flop limit ({kind}), {who}", share, "", target))
    return figures


def _memory(shape: Shape, built: dict[str, Any], found: Rounds, settings: dict[str, int | None], on_gpu: bool) -> list[Figure]:
    key = "gpu_mib" if on_gpu else "peak_mib"
    ours = max(unit[key] for unit in found["ours"])
    theirs = max(unit[key] for setting in settings for unit in found[setting])
    before = {who: built[who]["peak_mib"] for who in built}
    note = "" if on_gpu else f"before sampling: ours {before['ours']:.0f}, devinterp {before['devinterp']:.0f}"
    target = "≤ 1" if shape.name == "smollm2" else None
    return [
        Figure("peak memory, ours", ours, "MiB", note=note),
        Figure("peak memory, devinterp", theirs, "MiB"),
        Figure("peak memory, ours / devinterp", ours / theirs, "×", target=target),
    ]
