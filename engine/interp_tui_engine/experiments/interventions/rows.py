"""Rows of interventions as they come, and what they add up to. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...features import effects
from ...features.effects import Effect
from ...features.interventions import LOWERING, Intervention
from ...features.layer_convention import Convention, as_given
from ...results.interventions import EffectLine, LossChange
from .._features.changed_model import Bench
from .._features.space import Space
from .changes import PlannedChange
from .params import Params, everywhere
from .report import effect_line


class InterventionRows:
    """Rows as they come, and what they add up to."""

    def __init__(
        self,
        params: Params,
        model: str,
        spaces: Sequence[Space],
        bench: Bench,
        positives: int,
        base: Any,
        plain: Any,
        convention: Convention,
    ) -> None:
        self.convention = convention
        self.params, self.model, self.spaces, self.bench, self.positives, self.base = params, model, spaces, bench, positives, base
        self.plain = plain
        self.loss: dict[tuple[str, float, str], list[float]] = {}
        self.rows: list[Intervention] = []
        self.by_trial: dict[tuple[str, float], list[Intervention]] = {}

    def name(self, trial: PlannedChange) -> str:
        """The feature that a trial changes, or is a control of, as the report or the targets name it."""
        return as_given(self.spaces[trial.space].names[trial.feature], self.convention)

    def add(self, trial: PlannedChange, numbers: Any) -> None:
        """The rows of one trial: one for each draw and positive prompt, the side effect being the mean |Δ| of the negatives."""
        draws, everyone = len(trial.changed), len(self.base)
        scores_KP = numbers[: draws * everyone].reshape(draws, everyone)
        losses_KR = numbers[draws * everyone :].reshape(-1, max(1, len(self.plain)))
        for draw, scores_P in enumerate(scores_KP):
            self._add(trial, draw, scores_P, losses_KR[draw] if draw < len(losses_KR) else None)

    def _add(self, trial: PlannedChange, draw: int, scores_P: Any, losses_R: Any) -> None:
        names = self.spaces[trial.space].names
        name = self.name(trial)
        side = float(np.abs(scores_P[self.positives :] - self.base[self.positives :]).mean())
        if self.params.metric == "kl" and self.params.verb in LOWERING:
            scores_P = -scores_P  # a distance has no direction: it counts as the effect of every verb
        metadata: dict[str, Any] = {"strength": trial.strength, "metric": self.params.metric}
        if losses_R is not None:
            change = losses_R.astype(np.float64) - self.plain
            metadata["loss_change"] = float(change.mean())
            self.loss.setdefault((name, trial.strength, trial.control or ""), []).extend(change.tolist())
        if trial.control is not None:
            metadata |= {"control_type": trial.control, "draw": draw, "changed": as_given(names[trial.changed[draw]], self.convention)}
        if everywhere(self.params, self.convention):
            metadata["positions"] = "all"
        if self.convention != "block":
            metadata["layer_convention"] = self.convention
        own = [
            Intervention(
                model=self.model,
                feature_id=name,
                verb=self.params.verb,
                baseline=float(self.base[i]),
                changed=float(scores_P[i]),
                criterion=self.params.criterion,
                prompt_id=self.bench.prompts[i].id,
                side_effect=side,
                metadata=metadata,
            )
            for i in range(self.positives)
        ]
        self.rows += own
        self.by_trial.setdefault((name, trial.strength), []).extend(own)

    def effect(self, name: str, strength: float) -> Effect:
        """What is known of a feature at a strength so far."""
        rows = self.by_trial[name, strength]
        return effects.effect(name, [row for row in rows if row.control is None], [row for row in rows if row.control is not None])

    def summary(self, trial: PlannedChange) -> EffectLine:
        """One line of the table, as far as it is known."""
        name = self.name(trial)
        return effect_line(self.effect(name, trial.strength), trial.strength, self.params.verb, None, self.cost(name, trial.strength))

    def cost(self, name: str, strength: float) -> LossChange | None:
        """What a change does to the loss on plain text, with its interval over rows, and its controls'; None where none was read."""
        own = self.loss.get((name, strength, ""))
        if own is None:
            return None
        interval = effects.interval(own)
        others = [value for key, values in self.loss.items() if key[:2] == (name, strength) and key[2] for value in values]
        control = float(np.mean(others)) if others else None
        return LossChange(loss_change=interval.mean, loss_low=interval.low, loss_high=interval.high, loss_control=control)
