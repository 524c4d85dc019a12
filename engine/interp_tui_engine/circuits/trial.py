"""One decision of a circuit's search, and how far such decisions depend on which pairs of prompts were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Trial(NamedTuple):
    """What going without one part does: the faithfulness lost by it, and the metric of each example before and after."""

    loss: float
    before: Float[Tensor, " examples"]
    after: Float[Tensor, " examples"]


def trial(before: Float[Tensor, " examples"], after: Float[Tensor, " examples"], share: Callable[[float], float]) -> Trial:
    """A trial from its metrics; `share` turns a metric into faithfulness. The loss has the precision of what is kept of it."""
    loss = share(float(before.mean())) - share(float(after.mean()))
    return Trial(float(np.float32(loss)), before, after)


def stability(
    trials: Sequence[Trial], stayed: Sequence[bool], reach: Float[Tensor, " examples"], threshold: float, *, resamples: int, seed: int
) -> float | None:
    """Mean Jaccard overlap of the circuit with what the same trials would keep on resampled pairs.

    A part would stay on a resample if its loss there reaches the threshold; the parts tried before it are as the search left them. None for
    a single pair, where there is nothing to resample, and for an empty circuit.
    """
    count = len(reach)
    if count < 2 or not any(stayed):
        return None
    gone = torch.stack([trial.before - trial.after for trial in trials]).double().numpy()
    kept, whole = np.array(stayed), reach.double().numpy()
    overlaps = []
    for draw in np.random.default_rng(seed).integers(0, count, (resamples, count)):
        again = np.abs(gone[:, draw].mean(1) / whole[draw].mean()) >= threshold
        overlaps.append((kept & again).sum() / (kept | again).sum())
    return float(np.mean(overlaps))
