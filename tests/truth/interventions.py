"""Directions that mean nothing, steered along and ablated: how often are they called clear? And does an effect's interval cover?

The embedded model on its capitals, in layer 2, at log-odds. Targets are random unit directions; their controls (random directions of the
same size) are made as in a run. Intervals are over prompts: those of a draw of prompts are held against the mean over all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from interp_tui_engine.experiments import _features
from interp_tui_engine.experiments._features.changed_model import Bench, bench_of
from interp_tui_engine.experiments._features.space import Space
from interp_tui_engine.experiments.interventions.changes import Changes, PlannedChange
from interp_tui_engine.experiments.interventions.params import Params
from interp_tui_engine.features.control_test import against_controls
from interp_tui_engine.features.effects import interval
from interp_tui_engine.features.ranking import false_discovery
from interp_tui_engine.models.load import load_model
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.site import Site

from . import record
from .outcome import Outcome

CODE = ("features", "experiments/interventions", "experiments/_features")
"""Folders of the engine that the numbers follow from, for a record."""
LAYER, FAMILY = 2, 5
DRAWS = 99
"""As a run of five features takes."""


def outcomes(quick: bool) -> Iterator[Outcome]:
    """False positives of single directions and of families of five; coverage of intervals; power with the capitals' own direction."""
    torch.set_num_threads(1)
    targets = 40 if quick else 600
    prompts = _features.prompts_of("builtin:capital")
    positives = [p for p in prompts if p.score > 0.5]
    negatives = [p for p in prompts if p.score <= 0.5][::3]
    model = load_model("builtin:tiny", revision="final", device="cpu")
    bench = bench_of(model, site_map_of(model), positives + negatives, "log_odds", [], 64)[0].ready()
    clean_PD = bench.clean(LAYER).float()
    own_D = clean_PD[: len(positives)].mean(0) - clean_PD[len(positives) :].mean(0)
    unit_FD = torch.nn.functional.normalize(torch.randn(targets, clean_PD.shape[1], generator=torch.Generator().manual_seed(5)), dim=1)
    for verb, strength in (("steer", 4.0), ("ablate", 1.0)):

        def tested(family: int, verb: str = verb, strength: float = strength) -> tuple[list[list[float]], list[bool], list[float]]:
            some_FD = unit_FD[FAMILY * family : FAMILY * (family + 1)]
            found = _tested(bench, clean_PD, some_FD, len(positives), verb, strength, FAMILY * family)
            return found[0].tolist(), found[1].tolist(), found[2].tolist()

        families_found = record.each(f"interventions, {verb}", range(targets // FAMILY), tested, CODE)
        effects_F, clear_F, p_F = (np.concatenate([family[part] for family in families_found]) for part in range(3))
        yield Outcome("interventions", "false positives", f"random directions, {verb}", int(clear_F.sum()), targets, 0.05)
        families = [false_discovery(part) for part in np.split(p_F, targets // FAMILY)]
        clear = [bool((q <= 0.05).any()) for q in families]
        yield Outcome("interventions", "false positives", f"any of {FAMILY} random directions, {verb}", sum(clear), len(clear), 0.05)
        hits = trials = 0
        rng = np.random.default_rng(3)
        for effects_P in effects_F:
            some = interval(rng.choice(effects_P, 12).tolist())
            assert some.low is not None and some.high is not None
            hits += some.low <= effects_P.mean() <= some.high
            trials += 1
        yield Outcome("interventions", "coverage", f"effect over 12 prompts, {verb}", hits, trials, 0.95)
    _, clear_F, _ = _tested(bench, clean_PD, (own_D / own_D.norm())[None], len(positives), "ablate", 1.0)
    yield Outcome("interventions", "power", "the capitals' own direction, ablate", int(clear_F.sum()), 1, None)


def _tested(
    bench: Bench, clean_PD: Tensor, unit_FD: Tensor, positives: int, verb: str, strength: float, first: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Each direction's effects on the positives, whether it is clear, and its p; `first` numbers the randomness of their controls."""
    given = {"criterion": "c", "prompts": "builtin:capital", "features": "direction", "directions": "d", "targets": ["d"], "verb": verb}
    params = Params.model_validate(given)
    space = Space(Site("resid_post", LAYER), [f"direction:random:L{LAYER}:{i}" for i in range(len(unit_FD))], unit_FD=unit_FD)
    chosen = range(positives)
    base = bench.scores_of(LAYER, torch.zeros_like(clean_PD)[None], chosen)[0].numpy()
    sign = -1.0 if verb == "ablate" else 1.0
    effects, clear, p = [], [], []
    for feature in range(len(unit_FD)):
        changes = Changes(params, space, clean_PD, space.read(clean_PD), positives, first + feature)
        own, *others = (
            sign * (bench.scores_of(LAYER, changes.on_prompts(trial), chosen).numpy() - base).astype(np.float64)
            for trial in (
                PlannedChange(0, feature, strength, None, (feature,)),
                PlannedChange(0, feature, strength, "matched_norm", (feature,) * DRAWS),
            )
        )
        test = against_controls(float(own.mean()), others[0].mean(1).tolist())
        assert test.p is not None
        stands_out = np.sign(own.mean()) * (own.mean() - test.mean) > 0
        effects.append(own[0])
        p.append(test.p if stands_out else 1.0)
        clear.append(bool(interval(own[0].tolist()).clear_of(0.0) and stands_out and test.p <= 0.05))
    return np.array(effects), np.array(clear), np.array(p)
