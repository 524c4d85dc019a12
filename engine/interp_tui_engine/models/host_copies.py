"""Several results of a step brought to the host in one copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def host_copies(results: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    """Float32 tensors of one device as arrays, in their order. On the CPU they are the tensors' own memory."""
    if not results or results[0].device.type == "cpu":
        return [result.detach().numpy() for result in results]
    flat = torch.cat([result.detach().reshape(-1) for result in results]).cpu()
    parts = torch.split(flat, [result.numel() for result in results])
    return [part.view(result.shape).numpy() for part, result in zip(parts, results, strict=True)]
