"""Gradients at w0 of what a sampling run observes: susceptibilities and influences to first order. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...estimators.first_order import LinearResponse, norm, scatter
from ...estimators.susceptibilities import PerToken
from ...models.halving import in_smaller_passes
from ...models.loaded import LoadedModel
from ...samplers.settings import SamplerConfig
from ...samplers.target.problem import ModuleTarget, Observable, take


@dataclass(frozen=True)
class FirstOrder:
    """A part's response to first order. products: ⟨∇_C L, ∇_C l⟩ of every token by observable, in nats² per squared unit of weight.

    squared: ‖∇_C L‖². scatter: s, None where no localization bounds the weights. curvature: nβ uᵀHu / (γ + λ) along the gradient: how
    far from 1 the factor is by which curvature would change the response; first order holds where it is far below 1.
    """

    products: dict[str, PerToken]
    squared: float
    scatter: float | None
    curvature: float | None

    def chi(self, obs: str) -> PerToken | None:
        """s (‖∇_C L‖² - ⟨∇_C L, ∇_C l⟩) of every token, in nats²."""
        return None if self.scatter is None else self.scatter * (self.squared - self.products[obs])


def in_float32(model: LoadedModel) -> LoadedModel:
    """The model itself, or a copy in float32 of one that computes in fewer digits: inner products of gradients need them."""
    if next(model.module.parameters()).dtype == torch.float32:
        return model
    return replace(model, module=copy.deepcopy(model.module).float())


def linear_of(problem: ModuleTarget) -> LinearResponse:
    """The problem's loss around w0, in the weights that it lets move."""
    return LinearResponse(problem.functional, problem.space.anchors(), _masks(problem))


def batches_of(problem: ModuleTarget, observable: Observable, rows: int, first: int | None = None) -> list[Any]:
    """The observable's rows as `functional` takes them, so many at a time; all of them, or the `first`."""
    stop = observable.rows if first is None else min(first, observable.rows)
    return [problem.prepared(take(observable.data, slice(at, min(at + rows, stop)))) for at in range(0, stop, rows)]


def first_order(problem: ModuleTarget, config: SamplerConfig, sampling: str, probes: Sequence[str]) -> FirstOrder:
    """Of the part that the problem lets move; `sampling` and `probes` are identifiers of its observables.

    In batches of the observables' own size, or smaller ones where memory is short.
    """
    linear = linear_of(problem)
    by_name = {observable.name: observable for observable in problem.observables}

    def rows(name: str, most: int) -> int:
        return min(by_name[name].batch_size, most)

    def with_rows(most: int) -> FirstOrder:
        sampled = by_name[sampling]
        gradient, _ = linear.gradient(batches_of(problem, sampled, rows(sampling, most)))
        pull = config.localization + config.llc_weight_decay
        curvature = None
        if pull > 0:
            some = batches_of(problem, sampled, rows(sampling, most), first=sampled.batch_size)
            curvature = config.n_beta * linear.curvature(gradient, some) / pull
        products = {obs: linear.along(gradient, batches_of(problem, by_name[obs], rows(obs, most))) for obs in probes}
        return FirstOrder(products, norm(gradient) ** 2, scatter(config), curvature)

    return in_smaller_passes(max(by_name[name].batch_size for name in (sampling, *probes)), with_rows)


def _masks(problem: ModuleTarget) -> dict[str, Tensor]:
    """Of the parameters of which single elements move; those restricted to rows or columns are whole in the problem's space."""
    space = problem.space
    if all(block.mask is None for block in space.blocks):
        return {}
    flat = torch.ones(space.size, device=space.device)
    for block in space.blocks:
        if block.mask is not None:
            flat[block.start : block.stop] = block.mask
    return space.views(flat)
