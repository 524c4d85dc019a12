"""Influence and susceptibilities, ours against devinterp 2.0.1: same work, sides taking turns, each a process of its own.

influence         token BIF of 64 sequences × 64 tokens over 4 × 100 draws, from losses in memory to influences in memory. Peak memory is
                  the process's highest resident size, shown also less what it was before the first influence was computed.
susceptibilities  builtin:tiny, the whole model and all 32 heads: 33 samplings with stores on disk, then the estimate. devinterp's better
                  thread setting is what ours is compared with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import agreement, machine, side
from .figures import Figure, of_rounds, ratio

SIZE = {"rows": 64, "positions": 64, "chains": 4, "draws": 100}
HEADS = [f"l{layer}h{head}" for layer in range(4) for head in range(8)]
SETTINGS = {
    "lr": 1e-4,
    "n_beta": 30.0,
    "localization": 100.0,
    "num_init_loss_batches": 1,
    "init_seed": 100,
    "num_chains": 2,
    "batch_size": 16,
}
SUSCEPTIBILITY_TARGET, GPU_TARGET = "≥ 1.6", "≥ 6"


def _sides() -> tuple[side.Side, side.Side]:
    peer = side.Side("devinterp-posterior", side.peer_python(), "tests.bench.posterior_devinterp")
    return side.Side("ours-posterior", Path(sys.executable), "tests.bench.posterior_ours"), peer


def influence(quick: bool) -> dict[str, Any]:
    """Token BIF: seconds, memory, and that both sides find the same."""
    ours, peer = _sides()
    with ours, peer:
        before = {who.name: who.ask("prepare", **SIZE)["peak_mib"] for who in (ours, peer)}
        rounds: dict[str, list[Any]] = {"ours": [], "devinterp": [], "load": []}
        for _ in range(2 if quick else 7):
            rounds["load"].append(machine.others_load())
            rounds["ours"].append(ours.ask("influence"))
            rounds["devinterp"].append(peer.ask("influence"))
    apart = np.abs(np.array(rounds["ours"][0]["checks"]) - np.array(rounds["devinterp"][0]["checks"])).max()
    speed = {who: [1 / unit["seconds"] for unit in rounds[who]] for who in ("ours", "devinterp")}
    peaks = [max(unit["peak_mib"] for unit in rounds[who]) for who in ("ours", "devinterp")]
    own = [peak - start for peak, start in zip(peaks, before.values(), strict=True)]
    figures = [
        of_rounds("token BIF, ours", [unit["seconds"] for unit in rounds["ours"]], "s"),
        of_rounds("token BIF, devinterp", [unit["seconds"] for unit in rounds["devinterp"]], "s"),
        ratio("token BIF, ours / devinterp", speed["ours"], speed["devinterp"], "≥ 4"),
        Figure("token BIF, peak memory, ours / devinterp", peaks[0] / peaks[1], "×", target="≤ 0.333", note=_pair(peaks)),
        Figure("token BIF, memory beyond start, ours / devinterp", own[0] / own[1], "×", target="≤ 0.333", note=_pair(own)),
        Figure("token BIF, largest difference", float(apart), "", target="≤ 0.00001", note="of 400 influences"),
        of_rounds("cores busy with other work", rounds["load"], "cores"),
    ]
    return {"figures": figures, "rounds": rounds}


def _pair(values: list[float]) -> str:
    return f"ours {values[0]:.0f} MiB, devinterp {values[1]:.0f} MiB"


def susceptibilities(quick: bool) -> dict[str, Any]:
    """All heads of builtin:tiny, seconds."""
    model, rows, what = agreement.model_and_rows()
    heads, draws = (HEADS[:2], 3) if quick else (HEADS, 20)
    settings = {**SETTINGS, "num_draws": draws}
    ours, peer = _sides()
    with ours, peer:
        loaded = [who.ask("load", model=str(model), rows=str(rows)) for who in (ours, peer)]
        on_gpu = loaded[0]["device"] != "cpu"
        options: dict[str, int | None] = {"default threads": None}
        if not on_gpu and loaded[1]["threads"] > 1:
            options["1 thread"] = 1
        rounds: dict[str, list[Any]] = {"ours": [], "load": [], **{name: [] for name in options}}
        for _ in range(1 if quick else 3):
            rounds["load"].append(machine.others_load())
            rounds["ours"].append(ours.ask("susceptibilities", restrictions=heads, settings=settings, context=64))
            for name, threads in options.items():
                rounds[name].append(peer.ask("susceptibilities", restrictions=heads, settings=settings, context=64, threads=threads))
    rates = {name: [1 / unit["seconds"] for unit in rounds[name]] for name in ("ours", *options)}
    better = max(options, key=lambda name: sorted(rates[name])[len(rates[name]) // 2])
    target = None if quick else GPU_TARGET if on_gpu else SUSCEPTIBILITY_TARGET
    note = f"{what}, full and {len(heads)} heads, 2 × {draws} draws; against its better setting: {better}"
    figures = [of_rounds(f"susceptibilities, {name}", [unit["seconds"] for unit in rounds[name]], "s") for name in ("ours", *options)]
    figures += [ratio("susceptibilities, ours / devinterp", rates["ours"], rates[better], target, note)]
    figures.append(of_rounds("cores busy with other work", rounds["load"], "cores"))
    return {"figures": figures, "rounds": rounds}
