"""Susceptibilities by the definition, one token and one draw at a time."""

from __future__ import annotations

import numpy as np


def susceptibility(full, restricted, sampling, probe):
    """chi[row][position] of one probe, from plain arrays: `full[obs]` and `restricted[obs]` (chain, draw, row, position), full["init"]."""
    chains, draws, rows, positions = restricted[probe].shape
    init = np.mean(np.asarray(full["init"], dtype=np.float64))
    phi, loss = {}, {}
    for c in range(chains):
        for d in range(draws):
            loss[c, d] = np.mean(restricted[sampling][c, d].astype(np.float64))
            phi[c, d] = loss[c, d] - init
    n = chains * draws
    mean_phi = sum(phi.values()) / n
    with_sampling = sum(phi[at] * loss[at] for at in phi) / n
    full_sampling = np.mean(full[sampling].astype(np.float64))
    found = np.empty((rows, positions))
    for r in range(rows):
        for p in range(positions):
            with_probe = sum(phi[at] * float(restricted[probe][at][r, p]) for at in phi) / n
            full_probe = np.mean([float(x) for x in full[probe][:, :, r, p].ravel()])
            found[r, p] = with_sampling - with_probe - mean_phi * (full_sampling - full_probe)
    return found
