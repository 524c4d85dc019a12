"""What a dictionary is made of, and how it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .geometric_median import geometric_median


@dataclass(frozen=True)
class Weights:
    """The tensors of one dictionary, float32. Latent j reads with row j of `encoder` and writes row j of `decoder`.

    Rows are latents in both, so that what few active latents read, write or learn lies together in memory. SAE Lens stores
    `encoder` transposed.
    """

    encoder: Float[Tensor, "m d"]
    b_enc: Float[Tensor, " m"]
    decoder: Float[Tensor, "m d"]
    b_dec: Float[Tensor, " d"]
    threshold: Float[Tensor, " m"] | None = None
    """JumpReLU's θ, or BatchTopK's running threshold; a latent fires above it."""
    r_mag: Float[Tensor, " m"] | None = None
    """Gated: log of how much larger the magnitude path's encoder is than the gate's."""
    b_mag: Float[Tensor, " m"] | None = None
    """Gated: bias of the magnitude path; `b_enc` is the gate's."""

    @property
    def latents(self) -> int:
        """How many latents there are."""
        return int(self.encoder.shape[0])

    @property
    def width(self) -> int:
        """Numbers in an activation."""
        return int(self.encoder.shape[1])

    def named(self) -> dict[str, Tensor]:
        """The tensors there are, by name, in the order of the fields. Shapes as the fields state them."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def map(self, change: Callable[[Tensor], Tensor]) -> Weights:
        """The same dictionary with `change` applied to each tensor. It must keep the tensor's shape."""
        return replace(self, **{name: change(value) for name, value in self.named().items()})

    def scaled(self, factor: float) -> Weights:
        """The dictionary that does to x what this one does to `factor`·x, and codes in x's own units.

        Every architecture here is positively homogeneous: dividing the biases and the threshold by `factor` divides the codes and the
        reconstruction by it, and leaves which latents fire as it was.
        """
        changed = {name: value / factor for name, value in self.named().items() if name not in ("encoder", "decoder", "r_mag")}
        return replace(self, **changed)


def tied(latents: int, sample_BD: Float[Tensor, "b d"], generator: torch.Generator) -> Weights:
    """Initial weights: random unit decoder rows, encoder = decoder, b_enc = 0, b_dec = the sample's geometric median.

    Tying (Gao et al. 2024, arXiv 2406.04093, app. A.1) makes every latent begin by reading what it writes, which leaves few dead; the
    geometric median (Bricken et al. 2023) centres the data against outliers. `generator` is a CPU one, so that devices agree.
    """
    width = sample_BD.shape[1]
    rows_MD = torch.randn(latents, width, generator=generator)
    rows_MD = (rows_MD / rows_MD.norm(dim=1, keepdim=True)).to(sample_BD.device)
    return Weights(
        encoder=rows_MD.clone(),
        b_enc=torch.zeros(latents, device=sample_BD.device),
        decoder=rows_MD,
        b_dec=geometric_median(sample_BD.float()),
    )


def unit_rows_(matrix_MD: Float[Tensor, "m d"]) -> None:
    """Scale each row to norm 1, in place; a row of zeros is left alone."""
    matrix_MD.div_(matrix_MD.norm(dim=1, keepdim=True).clamp_(min=1e-8))


def remove_parallel_(gradient_MD: Float[Tensor, "m d"], rows_MD: Float[Tensor, "m d"]) -> None:
    """Take from each row's gradient its part along the (unit) row, in place: g ← g − (g·w)w (Bricken et al. 2023).

    Left in, it would be undone by the normalisation, but Adam's moments would remember it.
    """
    along_M = torch.linalg.vecdot(gradient_MD, rows_MD)
    gradient_MD.addcmul_(rows_MD, along_M.unsqueeze(1), value=-1)
