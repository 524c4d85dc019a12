"""Dictionary training written out densely: every code with its zeros, autograd through full products, Adam as in its paper.

Slow and obvious on purpose; the fast paths are held to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

Leaves = dict[str, Tensor]
"""encoder (m, d), b_enc (m), decoder (m, d), b_dec (d)."""


def topk_codes(p: Leaves, x: Tensor, k: int) -> Tensor:
    hidden = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    kept = hidden.topk(k, dim=1)
    return torch.zeros_like(hidden).scatter(1, kept.indices, kept.values).relu()


def batch_topk_codes(p: Leaves, x: Tensor, k: int) -> Tensor:
    hidden = ((x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]).relu()
    kept = hidden.flatten().topk(k * x.shape[0])
    return torch.zeros_like(hidden).flatten().scatter(0, kept.indices, kept.values).view_as(hidden)


def error(p: Leaves, x: Tensor, codes: Tensor) -> Tensor:
    return (x - codes @ p["decoder"] - p["b_dec"]).square().sum(1).mean()


def matryoshka_error(p: Leaves, x: Tensor, codes: Tensor, prefixes: tuple[int, ...]) -> Tensor:
    return torch.stack([(x - codes[:, :m] @ p["decoder"][:m] - p["b_dec"]).square().sum(1).mean() for m in prefixes]).mean()


def auxk(p: Leaves, x: Tensor, codes: Tensor, dead: Tensor, k_aux: int) -> Tensor:
    residual = (x - codes @ p["decoder"] - p["b_dec"]).detach()
    hidden = (x - p["b_dec"].detach()) @ p["encoder"].T + p["b_enc"]
    hidden = torch.where(dead, hidden, -torch.inf)
    kept = hidden.topk(min(k_aux, int(dead.sum())), dim=1)
    chosen = torch.zeros_like(hidden).scatter(1, kept.indices, kept.values.relu())
    return (residual - chosen @ p["decoder"]).square().sum(1).mean()


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.m: Leaves = {}
        self.v: Leaves = {}
        self.t = 0

    def step(self, p: Leaves, gradients: Leaves, lr: float) -> None:
        self.t += 1
        for name, g in gradients.items():
            self.m[name] = self.beta1 * self.m.get(name, torch.zeros_like(g)) + (1 - self.beta1) * g
            self.v[name] = self.beta2 * self.v.get(name, torch.zeros_like(g)) + (1 - self.beta2) * g * g
            m_hat = self.m[name] / (1 - self.beta1**self.t)
            v_hat = self.v[name] / (1 - self.beta2**self.t)
            p[name] = (p[name] - lr * m_hat / (v_hat.sqrt() + self.eps)).detach()


def train_topk(p: Leaves, batches: list[Tensor], k: int, lr: float) -> Leaves:
    """Plain steps: gradient, its part along each decoder row removed, Adam, rows back to norm 1."""
    adam = Adam()
    for x in batches:
        leaves = {name: tensor.clone().requires_grad_(True) for name, tensor in p.items()}
        error(leaves, x, topk_codes(leaves, x, k)).backward()
        gradients = {name: tensor.grad for name, tensor in leaves.items()}
        rows = p["decoder"]
        gradients["decoder"] = gradients["decoder"] - (gradients["decoder"] * rows).sum(1, keepdim=True) * rows
        adam.step(p, gradients, lr)
        p["decoder"] = p["decoder"] / p["decoder"].norm(dim=1, keepdim=True)
    return p
