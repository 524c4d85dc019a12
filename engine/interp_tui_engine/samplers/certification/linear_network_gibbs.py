"""Exact draws from the localised posterior of a deep linear network, and its exact mean loss, at many temperatures at once.

    density of W_1 … W_L  ∝  exp( -nβ ½ ‖W_L … W_1 − T‖²_F  −  (γ/2) Σ_l ‖W_l − W_l(w0)‖²_F )

Given the other layers a layer is Gaussian: with A the product of the layers after it and B of those before it, AᵀA = U diag(a) Uᵀ and
BBᵀ = V diag(b) Vᵀ, its entries in those eigenbases are independent with precision nβ a_i b_j + γ. Block Gibbs (Geman & Geman 1984)
draws layer by layer. Along the valley of the minimum a sweep moves by about (nβ)^(-1/2) only, so a ladder of temperatures exchanges its
states (parallel tempering, Swendsen & Wang 1986): neighbours swap with probability min(1, exp(Δnβ ΔK)).

E[nβK] is averaged over the last layer in closed form (Rao-Blackwell): nβ K at the layer's mean + ½ Σ nβ a b / (nβ a b + γ).

Shapes: r rungs of the ladder, c independent ladders side by side, p parameters. float64: an eigenvalue of a product of five layers may be
1e-10 of the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .toy import LinearNetwork

_SPACING = 1.8
"""Of neighbouring log nβ, in units of λ^(-1/2): nβK has about mean and variance λ, and a quarter of the swaps are accepted."""


@dataclass(frozen=True)
class TemperedDraws:
    """What the ladder gave. means, std_errors: E[nβK] at each of `n_betas`, and the error of that mean over the independent ladders.

    draws: weights at the chosen rung, thinned over sweeps, in the order of `LinearNetwork.anchor`. swap_rate: share of swaps accepted.
    """

    n_betas: tuple[float, ...]
    means: tuple[float, ...]
    std_errors: tuple[float, ...]
    draws: Float[Tensor, "n p"]
    swap_rate: float


def ladder(lowest: float, highest: float, learning_coefficient: float) -> tuple[float, ...]:
    """Values of nβ from `lowest` to `highest`, both included, evenly in log nβ and close enough that neighbours swap."""
    if highest <= lowest:
        return (lowest,)
    rungs = max(1, math.ceil(math.log(highest / lowest) * math.sqrt(learning_coefficient) / _SPACING))
    return (*(lowest * (highest / lowest) ** (i / rungs) for i in range(rungs)), highest)


@torch.no_grad()
def tempered_draws(
    network: LinearNetwork,
    n_betas: tuple[float, ...],
    localization: float,
    *,
    rung: int,
    draws: int,
    ladders: int,
    burn_in: int,
    sweeps: int,
    generator: torch.Generator,
) -> TemperedDraws:
    """Run `ladders` independent ladders for `burn_in + sweeps` sweeps, and keep `draws` states of one rung, evenly over the sweeps."""
    tempering = _Tempering(network, n_betas, localization, ladders, generator)
    keep_every = max(1, sweeps * ladders // draws)
    total = torch.zeros(len(n_betas), ladders, dtype=torch.float64)
    kept: list[Tensor] = []
    for sweep in range(burn_in + sweeps):
        expected = tempering.sweep()
        tempering.swap(sweep % 2)
        if sweep >= burn_in:
            total += expected
            if (sweep - burn_in + 1) % keep_every == 0:
                kept.append(tempering.weights(rung))
    means = total / sweeps
    errors = means.std(1) / math.sqrt(ladders)
    stacked = torch.cat(kept)[:draws]
    return TemperedDraws(n_betas, tuple(means.mean(1).tolist()), tuple(errors.tolist()), stacked, tempering.swap_rate)


class _Tempering:
    """The states of all ladders: `layers[l]` is (r, c, out, in)."""

    def __init__(self, network: LinearNetwork, n_betas: tuple[float, ...], localization: float, ladders: int, generator: torch.Generator):
        self.n_beta = torch.tensor(n_betas, dtype=torch.float64)[:, None, None, None]
        self.localization, self.generator = localization, generator
        self.target = network.target.double()
        self.anchors = [layer.double() for layer in network.anchor_layers]
        shape = (len(n_betas), ladders)
        self.layers = [w + self._normal(shape + tuple(w.shape)) / math.sqrt(localization) for w in self.anchors]
        self.loss = torch.zeros(shape, dtype=torch.float64)
        self._accepted = self._offered = 0.0

    def sweep(self) -> Float[Tensor, "r c"]:
        """Draw every layer anew, first to last; nβK averaged over the last layer's law given the others."""
        after = [torch.eye(self.target.shape[0], dtype=torch.float64)]  # after[-1 - l] = W_L … W_{l+1}
        for layer in self.layers[:0:-1]:
            after.append(after[-1] @ layer)
        before = torch.eye(self.target.shape[1], dtype=torch.float64)
        for index in range(len(self.layers)):
            expected = self._draw(index, after[-1 - index], before)
            before = self.layers[index] @ before
        self.loss = (before - self.target).square().sum((-1, -2)) / 2
        return expected

    def _draw(self, index: int, after: Tensor, before: Tensor) -> Float[Tensor, "r c"]:
        """Draw one layer given the others; E[nβK] under the law it is drawn from."""
        a, u = torch.linalg.eigh(after.mT @ after)
        b, v = torch.linalg.eigh(before @ before.mT)
        curvature = self.n_beta * a.clamp_min(0)[..., :, None] * b.clamp_min(0)[..., None, :]
        precision = curvature + self.localization
        pull = self.n_beta * (after.mT @ self.target @ before.mT) + self.localization * self.anchors[index]
        mean = (u.mT @ pull @ v) / precision
        self.layers[index] = u @ (mean + self._normal(tuple(mean.shape)) / precision.sqrt()) @ v.mT
        residual = after @ (u @ mean @ v.mT) @ before - self.target
        expected: Tensor = (self.n_beta[..., 0, 0] * residual.square().sum((-1, -2)) + (curvature / precision).sum((-1, -2))) / 2
        return expected

    def swap(self, parity: int) -> None:
        """Offer each rung of this parity an exchange with the next one up."""
        for low in range(parity, len(self.n_beta) - 1, 2):
            gap = self.n_beta[low + 1, 0, 0, 0] - self.n_beta[low, 0, 0, 0]
            log_ratio = gap * (self.loss[low + 1] - self.loss[low])
            accept = torch.rand(log_ratio.shape, generator=self.generator, dtype=torch.float64).log() < log_ratio
            for states in (self.loss, *self.layers):
                chosen = accept.view(-1, *(1,) * (states.dim() - 2))
                pair = torch.stack((torch.where(chosen, states[low + 1], states[low]), torch.where(chosen, states[low], states[low + 1])))
                states[low : low + 2] = pair
            self._accepted += float(accept.double().mean())
            self._offered += 1

    def weights(self, rung: int) -> Float[Tensor, "c p"]:
        """The weights at one rung, flat, as the samplers take them."""
        return torch.cat([layer[rung].flatten(1) for layer in self.layers], -1).float()

    @property
    def swap_rate(self) -> float:
        return self._accepted / self._offered if self._offered else 1.0

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)
