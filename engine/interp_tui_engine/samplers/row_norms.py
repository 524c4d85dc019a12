"""Euclidean norms of rows as long as a model has weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_PIECE = 4096


def row_norms(x: Float[Tensor, "c n"]) -> Float[Tensor, " c"]:
    """The norm of each row, in its own precision.

    A CPU adds up a row's squares one after another in a few lanes: over the 134 million weights of SmolLM2 that is 2 % off in float32.
    There the norm is taken of the norms of pieces.
    """
    if x.device.type != "cpu":
        return _norm(x, 1)
    pieces = x.shape[1] // _PIECE
    whole, rest = x[:, : pieces * _PIECE].view(x.shape[0], pieces, _PIECE), x[:, pieces * _PIECE :]
    return _norm(torch.cat([_norm(whole, 2), _norm(rest, 1)[:, None]], dim=1), 1)


def _norm(x: Tensor, dim: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x, dim=dim)
    return norms
