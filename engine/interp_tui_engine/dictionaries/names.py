"""Architecture names as users write them, and all the settings that any of them takes. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ArchitectureName = Literal["relu", "topk", "batch_topk", "jumprelu", "gated", "matryoshka"]
NAMES: tuple[ArchitectureName, ...] = get_args(ArchitectureName)


@dataclass(frozen=True)
class Sparsity:
    """What makes codes sparse; each architecture picks its own."""

    k: int
    l1: float
    l0: float
    bandwidth: float
    threshold: float
    prefixes: int
