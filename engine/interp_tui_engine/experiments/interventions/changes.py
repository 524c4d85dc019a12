"""What is added to a residual stream to change a feature, and to change what it is held against. Imports torch.

A feature a, read off a stream x and written along d, is changed by adding (a′ − a)·d. Controls are changes of the same kind:

    random             another feature that fires on these prompts, by the same verb
    matched_frequency  likewise, those that fire most nearly as often
    matched_norm       a random direction: what is read along it is changed by the same verb, then scaled to the size (root mean square
                       over the prompts) of the feature's own change. A latent's amounts, which no random direction has, stay as they are
    placebo            nothing

Legend: K draws, P prompts, N rows of any stream, D width, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...validation_errors import nearest
from .._features.plain_text import Change
from .._features.space import Space
from .params import draws_of

if TYPE_CHECKING:
    from .params import Params

Amounts = Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]]


@dataclass(frozen=True)
class PlannedChange:
    """Changes of one kind: of which feature of which space, how strongly, and as which control of it (None: of the feature itself)."""

    space: int
    feature: int
    strength: float
    control: str | None = None
    changed: tuple[int, ...] = ()
    """The features that are really changed, one a draw: others, in controls of some kinds."""


def trials_of(params: Params, targets: Sequence[str], spaces: Sequence[Space], values: Sequence[Tensor], seed: int) -> list[PlannedChange]:
    """All trials in the order they are run: each feature at each strength, then its controls. UserError for a feature there is not."""
    rng, draws = np.random.default_rng([seed, 0x7124]), draws_of(params, len(targets))
    places = {name: (s, f) for s, space in enumerate(spaces) for f, name in enumerate(space.names)}
    chosen = []
    for name in targets:
        if name not in places:
            kinds = {"sae": "SAE latents", "direction": "directions"}.get(params.features, "hidden dimensions")
            guess = nearest(name, list(places)[:5000])
            hint = f"{f'did you mean {guess!r}? ' if guess else ''}there are {len(places):,} {kinds}, from {next(iter(places))!r}"
            raise UserError(f"the model has no feature {name!r:.60}", hint)
        chosen.append(places[name])
    trials = []
    for space, feature in chosen:
        used = {f for s, f in chosen if s == space}
        size = values[space].abs().mean(0)
        # hidden dimensions all fire: by size
        fires = ((values[space].abs() > 0).float().mean(0) + 1e-3 * size / size.max().clamp_min(1e-12)).tolist()
        others = [f for f in range(len(spaces[space].names)) if f not in used and fires[f] > 0]
        alike = sorted(others, key=lambda f: (abs(fires[f] - fires[feature]), f))
        for strength in params.strengths:
            trials.append(PlannedChange(space, feature, strength, None, (feature,)))
            for kind in params.controls:
                if kind == "random":
                    changed = tuple(rng.permutation(others)[:draws].tolist())
                elif kind == "matched_frequency":
                    changed = tuple(alike[:draws])
                else:
                    changed = (feature,) * (draws if kind == "matched_norm" else 1)
                if changed:  # there may be no other feature of this kind to change
                    trials.append(PlannedChange(space, feature, strength, kind, changed))
    return trials


@dataclass(frozen=True)
class Changes:
    """Makes the changes of one space's trials. Constants (means, maxima, spreads) are of the prompts' last tokens, whatever is changed."""

    params: Params
    space: Space
    clean_PD: Float[Tensor, "P D"]
    values_PF: Float[Tensor, "P F"]
    positives: int
    """Prompts that meet the criterion; they come first."""
    seed: int

    def on_prompts(self, trial: PlannedChange) -> Float[Tensor, "K P D"]:
        """What is added at each prompt's last token, draw by draw."""
        return torch.stack([self._on_prompts(trial, draw) for draw in range(len(trial.changed))])

    def on_text(self, trial: PlannedChange, draw: int) -> Change:
        """What is added at every position of any text."""

        def change(x: Tensor) -> Tensor:
            flat_ND = x.reshape(-1, x.shape[-1]).float()
            if trial.control == "placebo":
                return torch.zeros_like(x)
            index = trial.changed[draw]
            if trial.control != "matched_norm":
                delta_N = self._delta(trial, self.values_PF[:, index])(self.space.read(flat_ND)[:, index].float())
                return (delta_N[:, None] * self._direction(index)).reshape(x.shape)
            unit_D = self._random(trial, draw)
            if self.space.dictionary is not None:
                delta_N = self._delta(trial, self.values_PF[:, index])(self.space.read(flat_ND)[:, index].float())
            else:
                delta_N = self._scale(trial, unit_D) * self._delta(trial, self.clean_PD.float() @ unit_D)(flat_ND @ unit_D)
            return (delta_N[:, None] * unit_D).reshape(x.shape)

        return change

    def _on_prompts(self, trial: PlannedChange, draw: int) -> Float[Tensor, "P D"]:
        if trial.control == "placebo":
            return torch.zeros_like(self.clean_PD)
        own_P = self.values_PF[:, trial.changed[draw]].float()
        delta_P = self._delta(trial, own_P)(own_P)
        if trial.control != "matched_norm":
            return delta_P[:, None] * self._direction(trial.changed[draw])
        unit_D = self._random(trial, draw)
        if self.space.dictionary is None:
            read_P = self.clean_PD.float() @ unit_D
            delta_P = self._scale(trial, unit_D) * self._delta(trial, read_P)(read_P)
        return delta_P[:, None] * unit_D

    def _delta(self, trial: PlannedChange, seen_P: Tensor) -> Amounts:
        """a′ − a, for a feature that has the values `seen_P` on the prompts."""
        seen_P, strength = seen_P.float(), trial.strength

        def delta(a: Tensor) -> Tensor:
            match self.params.verb:
                case "ablate":
                    to_zero = self.params.to == "zero" or (self.params.to == "auto" and self.space.dictionary is not None)
                    return -a if to_zero else seen_P[self.positives :].mean() - a
                case "amplify":
                    return (strength - 1) * a
                case "clamp":
                    return strength * seen_P[: self.positives].abs().max() - a
                case "patch":
                    return seen_P[: self.positives].mean() - a
            added = strength * seen_P.std() if self.params.steer_by == "std" else torch.tensor(strength, device=a.device)
            return added.expand_as(a)

        return delta

    def _scale(self, trial: PlannedChange, unit_D: Tensor) -> float:
        """What brings the change along a random direction to the size of the feature's own, over the prompts."""
        sizes = [
            self._delta(trial, read_P)(read_P).square().mean().sqrt()
            for read_P in (self.values_PF[:, trial.feature].float(), self.clean_PD.float() @ unit_D)
        ]
        own, random, length = torch.stack([*sizes, self._direction(trial.feature).norm()]).tolist()
        return own * length / random if random > 0 else 0.0

    def _direction(self, index: int) -> Float[Tensor, " D"]:
        return self.space.direction(index, self.clean_PD.shape[1], self.clean_PD.device).float()

    def _random(self, trial: PlannedChange, draw: int) -> Float[Tensor, " D"]:
        """A random direction, of the feature's own length."""
        generator = torch.Generator().manual_seed(int(np.random.default_rng([self.seed, trial.feature, draw]).integers(2**62)))
        random_D = torch.randn(self.clean_PD.shape[1], generator=generator).to(self.clean_PD.device, non_blocking=True)
        random_D /= random_D.norm()
        return random_D if self.space.dictionary is None else random_D * self._direction(trial.feature).norm()
