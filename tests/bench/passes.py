"""Patching and caching beside nnsight and TransformerLens: speed, peak memory, and whether all three say the same.

patching   30 layers × 5 positions of SmolLM2-135M's residual stream; target: 15 × the best peer that runs one pass a patch
caching    all resid_pre, resid_mid and resid_post of 64 prompts × 64 tokens, without logits

Every side loads the same file and takes the same ids. A peer's grid is timed one pass a patch, and with a layer's positions as one batch.
The sides take turns; a round's ratio is that of turns one right after the other. Peers live in environments of their own under .bench/.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .figures import Figure, of_rounds, ratio
from .passes_work import FOLDER, MODEL
from .side import Side, environment

PEERS = {"nnsight": ("nnsight==0.8.1", "gguf", "accelerate"), "transformer_lens": ("transformer-lens==4.3.0", "gguf", "accelerate")}
WAYS = {"nnsight": ("one", "invokes"), "transformer_lens": ("one", "rows")}
SAME = 2e-3
"""How far logit differences of about ±9 may lie apart between fused and eager attention in float32."""


def patching(quick: bool) -> dict[str, Any]:
    """The grid."""
    rounds = 1 if quick else 3
    with ExitStack() as stack:
        ours, peers = _sides(stack)
        reference = np.array(ours.ask("patch", way="loop")["grid"])
        mine: list[float] = []
        theirs: dict[tuple[str, str], list[float]] = {(name, way): [] for name in peers for way in WAYS[name]}
        apart, peak = {}, {}
        for turn in range(rounds + 1):
            for (name, way), seconds in theirs.items():
                if turn or way == WAYS[name][-1]:  # the first round warms up, in the quicker way
                    told = peers[name].ask("patch", way=way)
                    apart[name, way] = float(np.abs(np.array(told["grid"]) - reference).max())
                    peak[name] = told["peak_mib"]
                    seconds += [told["seconds"]] if turn else []
            told = ours.ask("patch", way="fast")
            difference = float(np.abs(np.array(told["grid"]) - reference).max())
            mine += [told["seconds"]] if turn else []
        used = ours.ask("where")["device"]
        figures = [of_rounds("ours", mine, "s", note=f"on {used}, from its own loop of full passes {difference:.1e} at most")]
        for (name, way), seconds in theirs.items():
            figures.append(of_rounds(f"{name}, {way}", seconds, "s", note=f"from our loop {apart[name, way]:.1e} at most"))
        for said, ways, target in (
            ("one pass a patch", ("one",), "≥ 15"),
            ("batched by hand or by the library", ("invokes", "rows"), None),
        ):
            best = min((key for key in theirs if key[1] in ways), key=lambda key: float(np.median(theirs[key])))
            figures.append(ratio(f"best peer, {said} ({best[0]}) / ours", theirs[best], mine, target))
        figures.append(Figure("largest difference between any two grids", max([difference, *apart.values()]), "", target=f"≤ {SAME}"))
        figures += [Figure("peak memory, ours", told["peak_mib"], "MiB")]
        figures += [Figure(f"peak memory, {name}", value, "MiB") for name, value in peak.items()]
    return {"figures": figures}


def caching(quick: bool) -> dict[str, Any]:
    """The cache."""
    rounds = 1 if quick else 5
    with ExitStack() as stack:
        ours, peers = _sides(stack)
        sides = {"ours": ours, **peers}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        told: dict[str, Any] = {}
        for turn in range(rounds + 1):
            for name, side in sides.items():
                told[name] = side.ask("cache")
                seconds[name] += [told[name]["seconds"]] if turn else []
    figures = [of_rounds(name, found, "s", note=f"{told[name]['sites']} sites") for name, found in seconds.items()]
    best = min(peers, key=lambda name: float(np.median(seconds[name])))
    figures.append(ratio(f"{best} (the best peer) / ours", seconds[best], seconds["ours"]))
    figures += [Figure(f"peak memory, {name}", answer["peak_mib"], "MiB") for name, answer in told.items()]
    norms = [answer["norm"] for answer in told.values()]
    figures.append(Figure("relative difference of the norms", (max(norms) - min(norms)) / max(norms), "", target="≤ 1e-4"))
    return {"figures": figures}


def backends(quick: bool) -> dict[str, Any]:
    """Whether all give the same next-token distribution: KL from ours, in nats."""
    figures = []
    with ExitStack() as stack:
        ours, peers = _sides(stack)
        own = _log_softmax(ours.ask("logits")["logits"])
        for name, side in peers.items():
            other = _log_softmax(side.ask("logits")["logits"])
            kl = float((np.exp(own) * (own - other)).sum())
            figures.append(Figure(f"KL(transformers ‖ {name})", kl, "nats", target="≤ 1e-6"))
    return {"figures": figures}


def _log_softmax(logits: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    x = np.asarray(logits, np.float64)
    x = x - x.max()
    return np.asarray(x - np.log(np.exp(x).sum()))


def unpack() -> None:
    """Write the model's weights and tokenizer as transformers saves them, unless they are there."""
    if (FOLDER / "config.json").exists():
        return
    from interp_tui_engine.models.load import load_model

    model = load_model(MODEL, device="cpu")
    assert model.tokenizer is not None
    model.tokenizer.save_pretrained(FOLDER)
    model.module.save_pretrained(FOLDER)  # type: ignore[operator]


def _sides(stack: ExitStack) -> tuple[Side, dict[str, Side]]:
    unpack()
    ours = stack.enter_context(Side("passes-ours", Path(sys.executable), "tests.bench.passes_ours"))
    peers = {name: stack.enter_context(Side(name, _python(name), f"tests.bench.passes_{name}")) for name in PEERS}
    for side in (ours, *peers.values()):
        side.ask("set_up", threads=machine.cores())
    return ours, peers


def _python(name: str) -> Path:
    """A peer's interpreter; its environment is made if it is not there."""
    return environment(name, *PEERS[name])
