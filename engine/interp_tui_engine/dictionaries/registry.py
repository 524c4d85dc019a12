"""Architecture by name."""

from __future__ import annotations

from .architecture import Architecture
from .batch_topk import BatchTopK
from .gated import Gated
from .jumprelu import JumpReLU
from .matryoshka import Matryoshka, halving_prefixes
from .names import ArchitectureName, Sparsity
from .relu_l1 import ReluL1
from .topk import TopK


def build(name: ArchitectureName, latents: int, sparsity: Sparsity) -> Architecture:
    """The architecture called `name` for a dictionary of that many latents."""
    match name:
        case "relu":
            return ReluL1(sparsity.l1)
        case "topk":
            return TopK(sparsity.k)
        case "batch_topk":
            return BatchTopK(sparsity.k)
        case "jumprelu":
            return JumpReLU(sparsity.k, sparsity.l0, sparsity.bandwidth, sparsity.threshold)
        case "gated":
            return Gated(sparsity.l1)
        case "matryoshka":
            return Matryoshka(sparsity.k, halving_prefixes(latents, sparsity.prefixes))
