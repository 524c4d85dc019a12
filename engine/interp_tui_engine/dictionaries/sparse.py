"""Linear maps of few active latents, forward and backward, at a cost in the active entries rather than in all latents.

A batch of B inputs with N = B·k active latents of M touches N of the B·M codes. Written densely, decoding and the three gradients cost
four B×M×D products; here each costs N·D, and only the encoder's forward product stays dense (Gao et al. 2024, app. D).
`torch.nn.functional.embedding_bag` is the sparse-times-dense product that torch has on every device, with a gradient for its weights;
where a kernel of ours runs, it takes its place (`sparse_products`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .sparse_products import differentiable_row_sums, kernel_on, row_sums


@dataclass(frozen=True)
class Pattern:
    """Which latents are active for which input: entries in the order of the inputs (CSR). `latents` N, `offsets` B+1."""

    latents: Int[Tensor, " n"]
    offsets: Int[Tensor, " b1"]
    width: int
    """M, the number of latents there are."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.offsets.shape[0]) - 1

    @cached_property
    def row_of(self) -> Int[Tensor, " n"]:
        """The input of each entry."""
        counts = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(self.rows, device=counts.device), counts, output_size=self.latents.shape[0])

    @cached_property
    def by_latent(self) -> Transposed:
        """The same entries in the order of the latents; stable, so that sums over a latent's inputs keep their order."""
        latents, order = torch.sort(self.latents.to(torch.int32), stable=True)
        return Transposed(order, self.row_of[order], offsets_of(latents, self.width))

    def where(self, chosen_N: Tensor) -> Pattern:
        """The entries of the mask. chosen_N: bool, one an entry."""
        return Pattern(self.latents[chosen_N], offsets_of(self.row_of[chosen_N], self.rows), self.width)


class Transposed(NamedTuple):
    """A pattern's entries by latent: where each stands among the entries by input, its input, and where each latent's entries begin."""

    order: Int[Tensor, " n"]
    rows: Int[Tensor, " n"]
    offsets: Int[Tensor, " m1"]


class Codes(NamedTuple):
    """Active codes of a batch: `values[i]` belongs to `pattern.latents[i]`."""

    values: Float[Tensor, " n"]
    pattern: Pattern

    def dense(self) -> Float[Tensor, "b m"]:
        """The codes with their zeros."""
        codes_BM = self.values.new_zeros(self.pattern.rows, self.pattern.width)
        codes_BM[self.pattern.row_of, self.pattern.latents] = self.values
        return codes_BM


def from_dense(codes_BM: Float[Tensor, "b m"]) -> Codes:
    """The codes that are not zero."""
    rows, latents = codes_BM.nonzero(as_tuple=True)
    return Codes(codes_BM[rows, latents], Pattern(latents, offsets_of(rows, codes_BM.shape[0]), codes_BM.shape[1]))


def offsets_of(groups_N: Int[Tensor, " n"], count: int) -> Int[Tensor, " g1"]:
    """Where each of `count` groups begins, and the last ends, in entries that stand in the order of their groups."""
    if groups_N.device.type != "cpu":  # bincount asks the host for the largest number
        return torch.searchsorted(groups_N, torch.arange(count + 1, dtype=groups_N.dtype, device=groups_N.device))
    offsets = torch.zeros(count + 1, dtype=torch.long)
    torch.cumsum(torch.bincount(groups_N, minlength=count), 0, out=offsets[1:])
    return offsets


def gather_sum(values_N: Tensor, pattern: Pattern, matrix_MD: Float[Tensor, "m d"]) -> Float[Tensor, "b d"]:
    """Row b: Σ over b's entries of value · matrix[latent]. Differentiable in the values alone."""
    if kernel_on(matrix_MD.device) is not None:
        return differentiable_row_sums(values_N, pattern.latents, pattern.offsets, pattern.row_of, matrix_MD.detach())
    return F.embedding_bag(
        pattern.latents, matrix_MD.detach(), pattern.offsets, mode="sum", per_sample_weights=values_N, include_last_offset=True
    )


def scatter_sum(values_N: Tensor, pattern: Pattern, inputs_BD: Float[Tensor, "b d"]) -> Float[Tensor, "m d"]:
    """Row j: Σ over the entries of latent j of value · inputs[row]. The transpose of `gather_sum`."""
    order, rows, offsets = pattern.by_latent
    return row_sums(values_N, rows, offsets, inputs_BD, order)


class _DecoderGradient(torch.autograd.Function):
    """The identity on a decoded batch, which gives the decoder its gradient: row j is Σ z_ij · ∂loss/∂x̂_i."""

    @staticmethod
    def forward(ctx: Any, decoded_BD: Tensor, decoder_MD: Tensor, values_N: Tensor, pattern: Pattern) -> Tensor:
        ctx.values, ctx.pattern = values_N, pattern
        return decoded_BD.view_as(decoded_BD)

    @staticmethod
    def backward(ctx: Any, gradient_BD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return gradient_BD, scatter_sum(ctx.values, ctx.pattern, gradient_BD.contiguous()), None, None


def decode(codes: Codes, decoder_MD: Float[Tensor, "m d"]) -> Float[Tensor, "b d"]:
    """Σ_j z_j · decoder_j for each input, without b_dec; differentiable in the codes and the decoder."""
    decoded_BD = gather_sum(codes.values, codes.pattern, decoder_MD)
    decoded: Tensor = _DecoderGradient.apply(decoded_BD, decoder_MD, codes.values.detach(), codes.pattern)  # type: ignore[no-untyped-call]
    return decoded


class _EncoderGradient(torch.autograd.Function):
    """Pre-activations that were picked from a dense product made without a graph, with the gradients of h = W(x − b_dec) + b_enc."""

    @staticmethod
    def forward(
        ctx: Any, picked_N: Tensor, centred_BD: Tensor, encoder_MD: Tensor, b_enc_M: Tensor, b_dec_D: Tensor, pattern: Pattern
    ) -> Tensor:
        ctx.save_for_backward(centred_BD, encoder_MD)
        ctx.pattern = pattern
        return picked_N.view_as(picked_N)

    @staticmethod
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[None, None, Tensor, Tensor, Tensor, None]:
        centred_BD, encoder_MD = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        encoder = scatter_sum(gradient_N, pattern, centred_BD)
        # unlike bincount's, this sum has one order on every device: a resumed run must not differ in a bit
        b_enc = scatter_sum(gradient_N, pattern, centred_BD.new_ones(pattern.rows, 1)).squeeze(1)
        # b_dec enters every pre-activation of latent j alike, so its gradient needs only their sum
        return None, None, encoder, b_enc, -(b_enc @ encoder_MD), None


def attach_encoder(
    picked_N: Float[Tensor, " n"],
    pattern: Pattern,
    centred_BD: Float[Tensor, "b d"],
    encoder_MD: Float[Tensor, "m d"],
    b_enc_M: Float[Tensor, " m"],
    b_dec_D: Float[Tensor, " d"],
) -> Float[Tensor, " n"]:
    """`picked_N` as a differentiable function of encoder, b_enc and b_dec. `centred_BD` is x − b_dec, detached."""
    picked: Tensor = _EncoderGradient.apply(picked_N, centred_BD, encoder_MD, b_enc_M, b_dec_D, pattern)  # type: ignore[no-untyped-call]
    return picked
