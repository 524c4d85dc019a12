"""What the blocks of models that compute as stacks are made of, forward and backward, on the weights of several chains at once.

Every operation is one batched call over chains, and gradients are written where they belong: autograd would take norms and rotations apart
and make an array a parameter, which has then to be added to the chain's gradient. On a GPU a small model's step takes as long as its
operations take to launch.

Dimensions: C chains, n tokens of a batch (rows × positions), i in, o out, t positions, H heads of width d.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Matrices = tuple[Float[Tensor, "C o i"], ...]
"""Weights that read the same input: one matrix where they lie side by side in memory, else several."""


def project(x: Float[Tensor, "C n i"], weights: Matrices) -> Float[Tensor, "C n o"]:
    """x Wᵀ, the outputs of several matrices side by side."""
    products = [torch.bmm(x, weight.mT) for weight in weights]
    return products[0] if len(products) == 1 else torch.cat(products, dim=-1)


def project_back(g: Float[Tensor, "C n o"], weights: Matrices) -> Float[Tensor, "C n i"]:
    """Gradient of the input of `project`."""
    first, *others = _parts(g, weights)
    into = torch.bmm(first, weights[0])
    for part, weight in zip(others, weights[1:], strict=True):
        into.baddbmm_(part, weight)
    return into


def add_weight_gradient(into: Matrices, g: Float[Tensor, "C n o"], x: Float[Tensor, "C n i"], keep: int) -> None:
    """Gradient of the weights of `project`, added to what is there (keep = 1) or in its place (0)."""
    for part, gradient in zip(_parts(g, into), into, strict=True):
        gradient.baddbmm_(part.mT, x, beta=keep)


def _parts(g: Float[Tensor, "C n o"], weights: Matrices) -> tuple[Tensor, ...]:
    return (g,) if len(weights) == 1 else torch.split(g, [weight.shape[1] for weight in weights], dim=-1)


class Normed(NamedTuple):
    """RMSNorm (Zhang & Sennrich 2019): `unit` = x / rms(x), `out` = unit · weight, `scale` = 1 / rms(x)."""

    out: Float[Tensor, "C n i"]
    unit: Float[Tensor, "C n i"]
    scale: Float[Tensor, "C n 1"]


def rms_norm(x: Float[Tensor, "C n i"], weight: Float[Tensor, "C 1 i"], eps: float) -> Normed:
    """RMSNorm of each token."""
    unit, scale = torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], None, eps)
    return Normed(unit * weight, unit, scale)


def rms_norm_back(
    g: Float[Tensor, "C n i"], normed: Normed, weight: Float[Tensor, "C 1 i"], into: Float[Tensor, "C 1 i"], keep: int
) -> Float[Tensor, "C n i"]:
    """Gradient of the input; that of the weight goes to `into`.

    With u = x / rms(x) and v = weight · g:  dx = (v − u ⟨u, v⟩ / i) / rms(x),  dweight = Σ over tokens of u · g.
    """
    product = g * normed.unit
    if keep:
        into.add_(product.sum(1, keepdim=True))
    else:
        torch.sum(product, 1, keepdim=True, out=into)
    inner = torch.bmm(product, weight.mT)
    return (g * weight).addcmul_(normed.unit, inner, value=-1 / g.shape[-1]).mul_(normed.scale)


class Rotation(NamedTuple):
    """Rotary position embedding (Su et al. 2021) of halves: y = x cos + roll(x, d/2) sin, `sin` with its first half negative."""

    cos: Float[Tensor, "t 1 d"]
    sin: Float[Tensor, "t 1 d"]


def rotation_of(cos: Float[Tensor, "t d"], sin: Float[Tensor, "t d"]) -> Rotation:
    """From cosines and sines as transformers gives them, for x cos + cat(−x₂, x₁) sin."""
    half = cos.shape[-1] // 2
    return Rotation(cos[:, None], torch.cat([-sin[:, :half], sin[:, half:]], dim=-1)[:, None])


def rotate(x: Float[Tensor, "rows t H d"], by: Rotation) -> Float[Tensor, "rows t H d"]:
    """Rotated queries or keys."""
    return (x * by.cos).addcmul_(x.roll(x.shape[-1] // 2, -1), by.sin)


def rotate_back_(g: Float[Tensor, "rows t H d"], by: Rotation) -> None:
    """Gradient of the input of `rotate`, in place: the rotation the other way round."""
    rolled = g.roll(g.shape[-1] // 2, -1)
    g.mul_(by.cos).addcmul_(rolled, by.sin, value=-1)


class Attended(NamedTuple):
    """Causal attention of one layer: what it gives, and its inputs and output as autograd holds them (none where nothing is kept)."""

    out: Float[Tensor, "C n o"]
    graph: tuple[Tensor, tuple[Tensor, Tensor, Tensor]] | None


def attend(qkv: Float[Tensor, "C n o"], heads: int, kv_heads: int, by: Rotation, keep_graph: bool) -> Attended:
    """Softmax attention of all chains' rows as one call. Shared keys and values are repeated: fused kernels of float32 do not share.

    The backward pass of the call is autograd's, which knows whatever kernel the device chose.
    """
    chains, tokens, _ = qkv.shape
    positions, width = by.cos.shape[0], by.cos.shape[-1]
    split = qkv.view(chains * tokens // positions, positions, heads + 2 * kv_heads, width)
    turned = rotate(split[:, :, : heads + kv_heads], by)
    inputs = turned[:, :, :heads], turned[:, :, heads:], split[:, :, heads + kv_heads :]
    query, key, value = (part.transpose(1, 2).detach().requires_grad_(keep_graph) for part in inputs)
    with torch.set_grad_enabled(keep_graph):
        all_keys, all_values = (_repeated(part, heads // kv_heads) for part in (key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(query, all_keys, all_values, is_causal=True)
    out = attended.detach().transpose(1, 2).reshape(chains, tokens, heads * width)
    return Attended(out, (attended, (query, key, value)) if keep_graph else None)


def attend_back(g: Float[Tensor, "C n o"], attended: Attended, by: Rotation) -> Float[Tensor, "C n o"]:
    """Gradient of `qkv` of `attend`."""
    assert attended.graph is not None
    output, inputs = attended.graph
    rows, heads, positions, width = output.shape
    parts = torch.autograd.grad(output, inputs, g.view(rows, positions, heads, width).transpose(1, 2))
    together = torch.cat([part.transpose(1, 2) for part in parts], dim=2)
    rotate_back_(together[:, :, : heads + inputs[1].shape[1]], by)
    return together.view(*g.shape[:2], -1)


def _repeated(x: Float[Tensor, "rows K t d"], times: int) -> Float[Tensor, "rows H t d"]:
    if times == 1:
        return x
    rows, groups, positions, width = x.shape
    return x[:, :, None].expand(rows, groups, times, positions, width).reshape(rows, groups * times, positions, width)


class GatedValues(NamedTuple):
    """SwiGLU (Shazeer 2020): `out` = silu(gate) · up."""

    out: Float[Tensor, "C n f"]
    both: Float[Tensor, "C n 2f"]
    """gate, then up."""
    silu: Float[Tensor, "C n f"]


def swiglu(both: Float[Tensor, "C n 2f"]) -> GatedValues:
    """From gate and up side by side."""
    gate, up = both.chunk(2, dim=-1)
    silu = torch.nn.functional.silu(gate)
    return GatedValues(silu * up, both, silu)


def swiglu_back(g: Float[Tensor, "C n f"], gated: GatedValues) -> Float[Tensor, "C n 2f"]:
    """Gradient of gate and up."""
    gate, up = gated.both.chunk(2, dim=-1)
    both = torch.empty_like(gated.both)
    of_gate, of_up = both.chunk(2, dim=-1)
    torch.mul(g, gated.silu, out=of_up)
    torch.ops.aten.silu_backward.grad_input(g * up, gate, grad_input=of_gate)
    return both
