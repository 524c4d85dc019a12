"""Gradients of losses taken one token at a time."""

from __future__ import annotations

import torch


def token_gradients(losses, weights, batches, masks):
    """(row, position, weight) float64: the gradient of every token's loss, elements outside the masks left at 0."""
    found = []
    for batch in batches:
        leaves = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
        with torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
            values = losses(leaves, batch)
            for row in values:
                tokens = []
                for token in row:
                    grads = torch.autograd.grad(token, list(leaves.values()), retain_graph=True, allow_unused=True)
                    parts = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, leaves.values(), strict=True)]
                    parts = [part * masks[name] if name in masks else part for name, part in zip(leaves, parts, strict=True)]
                    tokens.append(torch.cat([part.reshape(-1) for part in parts]))
                found.append(torch.stack(tokens))
    return torch.stack(found).double().numpy()
