"""SAE training beside SAE Lens 6.54: tokens a second at equal loss, and how much of a known dictionary each architecture recovers.

Speed: width 576, 4,608 latents, TopK 32, batches of 2,048, the same batches in the same order; the sides take turns, and a round's ratio
is that of turns one right after the other. The encoder's product alone is timed too: no method that encodes exactly is faster.
Recovery: 64 features in 32 dimensions, each on with probability 0.05; both sides have the same batches, steps, rates and coefficients.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from . import machine
from .figures import Figure, of_rounds, ratio
from .side import Side, device, environment, now

PEER = "sae-lens==6.54.12"
WIDTH, LATENTS, K, BATCH = 576, 4608, 32, 2048
ARCHITECTURES = ("relu", "topk", "batch_topk", "jumprelu", "gated", "matryoshka")
EQUAL = 1.02
"""By how much our FVU may exceed the peer's and still be called equal."""


def run(quick: bool) -> dict[str, Any]:
    """Figures of both benches."""
    with _ours() as ours, _peer() as peer:
        return {"figures": [*_speed(ours, peer, quick), *_recovery(ours, peer, quick)]}


def _speed(ours: Side, peer: Side, quick: bool) -> list[Figure]:
    settings = {"architecture": "topk", "width": WIDTH, "latents": LATENTS, "k": K, "lr": 1e-3, "l1": 0.0}
    for side in (ours, peer):
        side.ask("set_up", threads=machine.cores(), batch=BATCH, batches=16, features=LATENTS, active=K, settings=settings)
    rounds, steps = (2, 2) if quick else (9, 10)
    rates: dict[str, list[float]] = {"ours": [], "peer": [], "encoder": []}
    used = {side.name: side.ask("where")["device"] for side in (ours, peer)}
    for turn in range(rounds + 1):
        seconds = {side.name: side.ask("train", steps=steps)["seconds"] for side in (ours, peer)}
        encoder = _encoder_seconds()
        if turn:  # the first warms up
            rates["ours"].append(steps * BATCH / seconds[ours.name])
            rates["peer"].append(steps * BATCH / seconds[peer.name])
            rates["encoder"].append(BATCH / encoder)
    quality = {side.name: side.ask("measure") for side in (ours, peer)}
    fvu_ours, fvu_peer = quality[ours.name]["fvu"], quality[peer.name]["fvu"]
    trained = (rounds + 1) * steps
    return [
        of_rounds("ours", rates["ours"], "tokens/s", note=f"FVU {fvu_ours:.4f} after {trained} steps, on {used[ours.name]}"),
        of_rounds("SAE Lens 6.54", rates["peer"], "tokens/s", note=f"FVU {fvu_peer:.4f} after {trained} steps, on {used[peer.name]}"),
        of_rounds("the encoder's product alone", rates["encoder"], "tokens/s"),
        ratio("ours / SAE Lens", rates["ours"], rates["peer"], "≥ 2.2"),
        Figure("FVU, ours / SAE Lens", fvu_ours / fvu_peer, "", target=f"≤ {EQUAL}"),
    ]


def _encoder_seconds() -> float:
    """One product of a batch with the encoder, in this process."""
    torch.set_num_threads(machine.cores())
    x, encoder, out = (torch.randn(shape, device=device()) for shape in ((BATCH, WIDTH), (LATENTS, WIDTH), (BATCH, LATENTS)))
    torch.mm(x, encoder.T, out=out)
    start = now()
    for _ in range(3):
        torch.mm(x, encoder.T, out=out)
    return (now() - start) / 3


def _recovery(ours: Side, peer: Side, quick: bool) -> list[Figure]:
    figures = []
    for architecture in ARCHITECTURES:
        found = {}
        for side in (ours, peer):
            settings = {
                "architecture": architecture,
                "width": 32,
                "latents": 128 if architecture == "matryoshka" else 64,
                "k": 3,
                "lr": 3e-3,
                "l1": 5.0 if architecture == "gated" else 2.5,
            }
            steps = 50 if quick else 1500
            found[side.name] = side.ask("recover", threads=1, steps=steps, batch=512, features=64, active=3.2, settings=settings)
        mine, theirs = found[ours.name], found[peer.name]
        peers = f"SAE Lens: MCC {theirs['mcc']:.3f}, FVU {theirs['fvu']:.3f} at {theirs['l0']:.2f}"
        note = f"FVU {mine['fvu']:.3f} at L0 {mine['l0']:.2f}; {peers}"
        # a hundredth is what another seed changes
        target = None if quick else f"≥ {max(0.9, theirs['mcc'] - 0.01):.3f}"
        figures.append(Figure(f"{architecture}: MCC", mine["mcc"], "", target=target, note=note))
    return figures


def _ours() -> Side:
    return Side("sae-ours", Path(sys.executable), "tests.bench.sae_ours")


def _peer() -> Side:
    """A child on SAE Lens, whose environment is made if it is not there."""
    return Side("sae-lens", environment("saelens", PEER), "tests.bench.sae_peer")
