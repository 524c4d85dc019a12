"""Cross-entropy per token without log_softmax over the vocabulary, and with logits only in bounded chunks.

Shapes: n tokens, d hidden width, v vocabulary. Losses are in nats, float32 whatever the model's precision.

With p = softmax(z), the gradient of -log p_t with respect to z is p - onehot(t). A per-token weight g scales rows, so that
dL/dh = g (p - onehot) W and dL/dW = (p - onehot)^T (g h) need one v-sized array and two matrix products.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from .row_losses import kernel_on, rows_at_once, slopes_
from .row_losses import losses as row_losses
from .tied_gradient import TiedGradient


def _logits(h: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> Float[Tensor, "n v"]:
    z = (h @ weight.T if bias is None else torch.addmm(bias, h, weight.T)).float()
    return z if softcap is None else z.div_(softcap).tanh_().mul_(softcap)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        softcap: float | None,
        budget: int,
        tied: TiedGradient | None,
    ) -> Tensor:
        n, v = h.shape[0], weight.shape[0]
        losses = torch.empty(n, dtype=torch.float32, device=h.device)
        rows = max(1, budget // (4 * v))
        keep = ctx is not None and rows >= n and softcap is None
        p = None
        for start in range(0, n, rows):
            p = _logits(h[start : start + rows], weight, bias, softcap)
            (slopes_ if keep else row_losses)(p, target[start : start + rows], losses[start : start + rows])
        if ctx is not None:
            ctx.save_for_backward(h, weight, bias, target)
            ctx.slope, ctx.rows, ctx.softcap, ctx.tied = p if keep else None, rows, softcap, tied
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, bias, target = ctx.saved_tensors
        need_h, need_w, need_b = ctx.needs_input_grad[:3]
        grad_h = torch.empty_like(h) if need_h else None
        tied: TiedGradient | None = ctx.tied
        grad_w: Tensor | None = None
        grad_b = torch.zeros(weight.shape[0], device=h.device) if need_b else None
        for start in range(0, h.shape[0], ctx.rows):
            part = slice(start, start + ctx.rows)
            d = _logit_gradient(ctx, h[part], weight, bias, target[part]).to(h.dtype)
            scale = g[part, None].to(h.dtype)
            if grad_h is not None:
                torch.mm(d, weight, out=grad_h[part])
                grad_h[part].mul_(scale)
            if need_w:
                # A product with the narrow matrix first gives the gradient in the weight's own layout, so that autograd need not copy it.
                if grad_w is None:
                    grad_w = torch.mm(d.T, h[part] * scale, out=torch.empty_like(weight) if tied is None else tied.space())
                else:
                    grad_w.addmm_(d.T, h[part] * scale)
            if grad_b is not None:
                grad_b += g[part] @ d.float()
        if tied is not None and grad_w is not None:
            tied.put(grad_w)
            grad_w = None
        return grad_h, grad_w, None if grad_b is None else grad_b.to(weight.dtype), None, None, None, None


def _logit_gradient(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Float[Tensor, "n v"]:
    """p - onehot(t), times the derivative of the soft cap; as kept, or made again."""
    kept: Tensor | None = ctx.slope
    ctx.slope = None
    if kept is not None:
        return kept
    z = _logits(h, weight, bias, ctx.softcap)
    of_cap = None if ctx.softcap is None else 1 - (z / ctx.softcap).square_()
    slopes_(z, target, None)
    return z if of_cap is None else z.mul_(of_cap)


def linear_cross_entropy(
    hidden: Float[Tensor, "n d"],
    weight: Float[Tensor, "v d"],
    bias: Float[Tensor, " v"] | None,
    target: Int[Tensor, " n"],
    softcap: float | None,
    budget: int,
    tied: TiedGradient | None = None,
) -> Float[Tensor, " n"]:
    """lse(z) - z_target per token with z = hidden weightᵀ + bias, soft-capped to softcap·tanh(z/softcap) if given (Gemma 2).

    budget: bytes that one chunk of logits may take. Chunks that fit as a whole are kept for the backward pass, others recomputed.
    tied: where the gradient of `weight` is put by for the embedding look-up to add to; without it, autograd gets it from here.
    """
    if not torch.is_grad_enabled():
        return _LinearCrossEntropy.forward(None, hidden, weight, bias, target, softcap, budget, tied)
    losses: Tensor = _LinearCrossEntropy.apply(hidden, weight, bias, target, softcap, budget, tied)  # type: ignore[no-untyped-call]
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        losses = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
        if kernel_on(logits.device) is not None:  # which leaves the logits as they are
            row_losses(logits, target, losses)
        else:
            rows = rows_at_once(logits)
            for start in range(0, logits.shape[0], rows):
                part = slice(start, start + rows)
                row_losses(logits[part].to(torch.float32, copy=True), target[part], losses[part])
        if ctx is not None:
            ctx.save_for_backward(logits, target)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        logits, target = ctx.saved_tensors
        slope = logits.to(torch.float32, copy=True)
        slopes_(slope, target, None)
        return slope.mul_(g[:, None]).to(logits.dtype), None


def cross_entropy(logits: Float[Tensor, "n v"], target: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """lse(z) - z_target per token for a model that hands out its logits; the backward pass makes one array of their size."""
    if not torch.is_grad_enabled():
        return _CrossEntropy.forward(None, logits, target)
    losses: Tensor = _CrossEntropy.apply(logits, target)  # type: ignore[no-untyped-call]
    return losses


def plain_cross_entropy(logits: Float[Tensor, "*batch n v"], target: Int[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """The same from ordinary differentiable operations, for torch.func transforms."""
    z = logits.float()
    return z.logsumexp(-1) - z.gather(-1, target[..., None])[..., 0]
