"""Our executor modes against each other on the tiny shape: one process a mode, taking turns; a unit is as in `sampling`."""

from __future__ import annotations

from typing import Any

from . import machine, side
from .figures import of_rounds, ratio
from .shapes import SHAPES


def run(quick: bool) -> dict[str, Any]:
    """tokens/s of every mode that this machine has, and each relative to what `auto` takes."""
    shape = SHAPES["tiny"]
    rounds, draws = (2, 6) if quick else (shape.rounds, shape.draws)
    children = {mode: side.ours(f"ours-{mode}") for mode in ("auto", "threads", "serial", "vmap")}
    found: dict[str, list[float]] = {mode: [] for mode in children}
    load = []
    try:
        on_gpu = {child.ask("build", shape=shape.name)["device"] for child in children.values()} != {"cpu"}
        if on_gpu:
            del found["threads"]
        for mode in found:
            children[mode].ask("unit", draws=2, chains=mode)
        for _ in range(rounds):
            load.append(machine.others_load())
            for mode in found:
                found[mode].append(children[mode].ask("unit", draws=draws, chains=mode)["tokens_per_second"])
    finally:
        for child in children.values():
            child.__exit__(None, None, None)
    figures = [of_rounds(mode, rates, "tokens/s") for mode, rates in found.items()]
    figures += [
        ratio(f"auto / {mode}", found["auto"], rates, note="auto should take the best") for mode, rates in found.items() if mode != "auto"
    ]
    figures.append(of_rounds("cores busy with other work", load, "cores"))
    return {"figures": figures, "rounds": {**found, "load": load}}
