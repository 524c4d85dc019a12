"""Contrast directions of labels that mean nothing: how often are they called clear? And those of a criterion that means something?

The embedded model, its 132 facts, and all that a run makes of a set of labels: parts, answers, direction, strength, effect. Labels drawn at
random stand in for the real ones in each trial; 20 shuffles of them and 20 random directions are its controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from interp_tui_engine.experiments import _features
from interp_tui_engine.experiments.contrast.labels import LabelEffect, Labelled, bench_under, shuffled, split
from interp_tui_engine.experiments.contrast.params import Params
from interp_tui_engine.features.control_test import against_controls
from interp_tui_engine.features.effects import interval
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.dissect import site_map_of

from . import record
from .outcome import Outcome

DRAWS = 20
CODE = ("features", "experiments/contrast", "experiments/_features")
"""Folders of the engine that the numbers follow from, for a record."""


@dataclass
class Facts:
    """The embedded model's facts under any labels."""

    params: Params
    seed: int = 100

    def __post_init__(self) -> None:
        self.prompts = _features.prompts_of("builtin:capital")
        self.real = [prompt.score > 0.5 for prompt in self.prompts]
        self.model = load_model("builtin:tiny", revision="final", device="cpu")
        self.site_map = site_map_of(self.model)
        bench, _ = bench_under(self.params, self.model, self.site_map, self.prompts, self.real)
        self.bench = bench.ready()
        self.clean_PD = self.bench.clean(self.params.layer).float()

    def under(self, labels: list[bool]) -> Labelled:
        bench, _ = bench_under(self.params, self.model, self.site_map, self.prompts, labels, beside=self.bench)
        bench = bench if self.params.shared_answers else self.bench
        return Labelled(self.params, bench, self.clean_PD, split(self.params, labels, self.seed))

    def clear(self, labels: list[bool], draw: int) -> bool:
        """Whether a run with these labels calls its direction clear; `draw` numbers its controls' randomness."""
        made = self.under(labels)
        own = made.read(made.measure())
        effects = _effects(own, own.changed)
        if not effects.mean() > 0 or not interval(effects.tolist()).clear_of(0.0):
            return False
        others = []
        for index in range(DRAWS):
            control = self.under(shuffled(labels, 10_000 + draw, index))
            found = control.read(control.measure())
            others.append(float(_effects(found, found.changed).mean()))
        return all(
            test.p is not None and test.p <= 0.05 and effects.mean() > test.mean
            for test in (against_controls(float(effects.mean()), values) for values in (others, self._random(made, own, draw)))
        )

    def _random(self, made: Labelled, own: LabelEffect, draw: int) -> list[float]:
        generator = torch.Generator().manual_seed(draw)
        random_KD = torch.randn(DRAWS, self.clean_PD.shape[1], generator=generator)
        random_KD *= own.strength * made.offset_D.norm() / random_KD.norm(dim=1, keepdim=True)
        changes_KPD = random_KD[:, None].expand(-1, len(self.prompts), -1)
        scores = made.bench.scores_of(self.params.layer, changes_KPD, made.places("report")[0]).numpy()
        return [float(_effects(own, row).mean()) for row in scores]


def _effects(measured: LabelEffect, changed: Any) -> Any:
    return (changed - measured.base)[: len(measured.told_on)].astype(np.float64)


def _null(facts: Facts, trial: int) -> bool:
    return facts.clear(shuffled(facts.real, 777, trial), trial)


def _own(facts: Facts, seed: int) -> bool:
    facts.seed = seed
    return facts.clear(facts.real, seed)


def outcomes(quick: bool) -> Iterator[Outcome]:
    """False positives under labels drawn at random, by either way of asking; power with the capitals' own."""
    torch.set_num_threads(1)
    trials = 12 if quick else 200
    for shared in (True, False):
        params = Params.model_validate(
            {"criterion": "c", "prompts": "builtin:capital", "layer": 2, "strengths": [0.5, 1.0, 2.0, 4.0], "shared_answers": shared}
        )
        facts = Facts(params)
        asked = "shared answers" if shared else "own answers"
        null = partial(_null, facts)
        hits = sum(record.each(f"contrast, shuffled labels, {asked}", range(trials), null, CODE))
        yield Outcome("contrast", "false positives", f"positives chosen at random, {asked}", hits, trials, 0.05)
        if shared:
            seeds = 4 if quick else 40
            found = sum(record.each("contrast, power", range(seeds), partial(_own, facts), CODE))
            yield Outcome("contrast", "power", "capital cities, other parts each time", found, seeds, None)
