"""Attribution patching: the effect of ablating every node at once, to first order (Nanda 2023; Syed et al. 2023, arXiv 2310.10348).

    effect(n) ≈ Σ (clean_n − corrupt_n) · ∂m/∂n

with the gradient of the clean run (eap), or averaged along the straight line between the corrupt and the clean embeddings (eap_ig:
integrated gradients on inputs, Hanna et al. 2024, arXiv 2403.17806). One backward pass in place of one forward pass a node; exact where
the model is linear between the two runs, and to be checked against exact patching where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..sites.hooks import Edit, edited
from ..sites.site import Site
from .nodes import Behaviour, Node, Prepared, output_of


def attribution(behaviour: Behaviour, *, steps: int) -> dict[Node, float]:
    """The estimated loss of the metric when each node is ablated, averaged over examples; steps = 0 is eap, more is eap_ig."""
    totals = dict.fromkeys(behaviour.nodes, 0.0)
    for run in behaviour.runs:
        gradients = _gradients(run, steps)
        for node in behaviour.nodes:
            gradient = gradients[node.whole] if node.head is None else gradients[node.whole][:, node.head]
            away = output_of(run.clean, node) - behaviour.instead(run, node)
            totals[node] += float((away * gradient).sum()) / len(behaviour.runs)
    return totals


def exact(behaviour: Behaviour, nodes: Sequence[Node]) -> dict[Node, float]:
    """The true loss of the metric when each node alone is ablated."""
    return {node: behaviour.whole - behaviour.value([node]) for node in nodes}


def correlation(left: dict[Node, float], right: dict[Node, float]) -> float | None:
    """Pearson's r over the nodes that both have; None where either does not vary."""
    shared = [node for node in left if node in right]
    a, b = (torch.tensor([side[node] for node in shared], dtype=torch.float64) for side in (left, right))
    if len(shared) < 3 or float(a.std()) == 0 or float(b.std()) == 0:
        return None
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def _gradients(run: Prepared, steps: int) -> dict[Site, Tensor]:
    """∂m/∂ every head's and MLP's output, without batch axis, averaged over the points of the path."""
    anatomy = run.fork.anatomy
    ids = torch.tensor([run.example.clean], device=run.corrupt_stream.device)
    shares = torch.ones(1) if steps == 0 else (torch.arange(steps) + 0.5) / steps
    clean = run.fork.resid_pre[0]
    path = run.corrupt_stream + shares.to(clean)[:, None, None] * (clean - run.corrupt_stream)
    leaves = {
        site: torch.zeros_like(value).repeat(len(shares), *[1] * (value.dim() - 1)).requires_grad_(True)
        for site, value in run.clean.items()
    }
    edits = [Edit(Site("resid_pre", 0), lambda value: path.to(value))]
    edits += [Edit(site, lambda value, leaf=leaf: value + leaf) for site, leaf in leaves.items()]  # type: ignore[misc]
    with torch.enable_grad(), edited(anatomy, edits):
        hidden = anatomy.body(input_ids=ids.expand(len(shares), -1), use_cache=False).last_hidden_state[:, -1]
        total = run.score(anatomy.finish(anatomy.head(hidden))).sum()
    found = torch.autograd.grad(total, list(leaves.values()))
    return {site: gradient.mean(0) for site, gradient in zip(leaves, found, strict=True)}
