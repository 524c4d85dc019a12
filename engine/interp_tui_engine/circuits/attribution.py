"""Attribution patching: the effect of ablating every node at once, to first order (Nanda 2023; Syed et al. 2023, arXiv 2310.10348).

    effect(n) ≈ Σ (clean_n − corrupt_n) · ∂m/∂n

with the gradient of the clean run (eap), or averaged along a straight line (integrated gradients, Hanna et al. 2024, arXiv 2403.17806):
between the corrupt and the clean embeddings (eap_ig), or between the ablated and the clean outputs of one kind of node in one layer, all
before it as in the clean run (eap_ig_activations). One backward pass in place of one forward pass a node; exact where
the model is linear between the two runs, and to be checked against exact patching where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.device import sent
from ..models.halving import FittingRows
from ..sites.hooks import Edit, edited
from ..sites.row_memory import bytes_of_row, device_of
from ..sites.site import Site
from .methods import Estimate
from .nodes import Behaviour
from .prepared import Node, Prepared, output_of


def attribution(behaviour: Behaviour, method: Estimate, *, steps: int) -> dict[Node, float]:
    """The estimated loss of the metric when each node is ablated, averaged over examples."""
    totals = dict.fromkeys(behaviour.nodes, 0.0)
    longest = max(run.fork.length for run in behaviour.runs)
    held = behaviour.site_map.num_layers * bytes_of_row(behaviour.site_map, longest)  # every block's, for the way back
    points = FittingRows(device_of(behaviour.site_map), held, max(1, steps))
    for run in behaviour.runs:
        if method == "eap_ig_activations":
            gradients = _along_activations(behaviour, run, steps, points)
        else:
            gradients = _along_inputs(run, steps if method == "eap_ig" else 0, points)
        losses = []
        for node in behaviour.nodes:
            gradient = gradients[node.whole] if node.head is None else gradients[node.whole][:, node.head]
            losses.append(((output_of(run.clean, node) - behaviour.instead(run, node)) * gradient).sum())
        for node, loss in zip(behaviour.nodes, torch.stack(losses).tolist(), strict=True):
            totals[node] += loss / len(behaviour.runs)
    return totals


def exact(behaviour: Behaviour, nodes: Sequence[Node]) -> dict[Node, float]:
    """The true loss of the metric when each node alone is ablated."""
    return dict(zip(nodes, behaviour.losses(nodes).mean(1).tolist(), strict=True))


def correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's r; None for fewer than three values, or where either side does not vary."""
    a, b = (torch.tensor(side, dtype=torch.float64) for side in (left, right))
    if len(a) < 3 or float(a.std()) == 0 or float(b.std()) == 0:
        return None
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def _along_inputs(run: Prepared, steps: int, points: FittingRows) -> dict[Site, Tensor]:
    """∂m/∂ every head's and MLP's output, without batch axis, averaged over the points of the path."""
    shares = torch.ones(1) if steps == 0 else (torch.arange(steps) + 0.5) / steps
    clean = run.fork.resid_pre[0]
    path = run.corrupt_stream + shares.to(clean)[:, None, None] * (clean - run.corrupt_stream)

    def summed(some: Tensor) -> list[Tensor]:
        leaves = {
            site: torch.zeros_like(value).repeat(len(some), *[1] * (value.dim() - 1)).requires_grad_(True)
            for site, value in run.clean.items()
        }
        edits = [Edit(Site("resid_pre", 0), lambda value: some.to(value))]
        edits += [Edit(site, lambda value, leaf=leaf: value + leaf) for site, leaf in leaves.items()]  # type: ignore[misc]
        gradients = torch.autograd.grad(_total(run, edits, len(some)), list(leaves.values()))
        return [gradient.sum(0) for gradient in gradients]

    sums = [gradients for _, gradients in points.each(path, summed)]
    return {site: _over(parts, len(shares)) for site, *parts in zip(run.clean, *sums, strict=True)}


def _over(parts: Sequence[Tensor], points: int) -> Tensor:
    """The mean over all points from sums over some of them."""
    return sum(parts[1:], parts[0]) / points


def _along_activations(behaviour: Behaviour, run: Prepared, steps: int, points: FittingRows) -> dict[Site, Tensor]:
    """As `_along_inputs`, every site along its own path."""
    gradients = {}
    for site in dict.fromkeys(node.whole for node in behaviour.nodes):
        nodes = [node for node in behaviour.nodes if node.whole == site]
        ablated = [behaviour.instead(run, node) for node in nodes]
        away = (torch.stack(ablated, dim=1) if site.name == "z" else ablated[0])[None] - run.clean[site]
        shares = (torch.arange(steps) + 0.5) / steps
        path = (1 - shares.to(away)).view(-1, *[1] * (away.dim() - 1)).mul(away)

        def summed(some: Tensor, site: Site = site) -> Tensor:
            leaf = some.detach().requires_grad_(True)
            total = _total(run, [Edit(site, lambda value: value + leaf)], len(some))
            return torch.autograd.grad(total, leaf)[0].sum(0)

        gradients[site] = _over([sum_of_some for _, sum_of_some in points.each(path, summed)], steps)
    return gradients


def _total(run: Prepared, edits: Sequence[Edit], rows: int) -> Tensor:
    """The metric summed over copies of the clean run under edits, to be differentiated."""
    site_map = run.fork.site_map
    ids = sent([run.example.clean], run.corrupt_stream.device)
    with torch.enable_grad(), edited(site_map, edits):
        hidden = site_map.body(input_ids=ids.expand(rows, -1), use_cache=False).last_hidden_state[:, -1]
        return run.score(site_map.finish(site_map.head(hidden))).sum()
