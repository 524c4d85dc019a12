"""Features that go with nothing: how often does inspect call one, with one row a text and with twenty? And one that does, and matches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from interp_tui_engine.features import matching, ranking, split, synthetic
from interp_tui_engine.features.column_store import FeatureColumn
from interp_tui_engine.features.effects import effects_of

from .outcome import Outcome

TEXTS, FEATURES = 100, 50
SETTINGS = ranking.RankingSettings(alpha=0.05, permutations=99, minimum=5, seed=0, seed_ranking=False, threads=1)


def outcomes(quick: bool) -> Iterator[Outcome]:
    """False positives (any feature at a family-wise p, any at q), power for one planted feature; causal features; matches of strangers."""
    trials = 40 if quick else 1000
    for rows in (1, 20):
        noise = [_ranked(rows, 0.0, seed) for seed in range(trials)]
        case = f"{rows} row{'s' * (rows > 1)} a text, {FEATURES} features"
        family = sum(min(found.table["family_p"]) <= 0.05 for found in noise)
        yield Outcome("inspect", "false positives", f"family-wise p, {case}", family, trials, 0.05)
        called = sum(found.summary["associated"] > 0 for found in noise)
        yield Outcome("inspect", "false positives", f"any with q ≤ 5 %, {case}", called, trials, 0.05)
        planted = [_ranked(rows, 1.5, seed) for seed in range(trials // 4)]
        hits = sum(found.table["feature_id"][0] == "f0" and found.table["tier"][0] == 1 for found in planted)
        yield Outcome("inspect", "power", f"a feature 1.5 standard deviations off, {case}", hits, len(planted), None)
    draws = 20 if quick else 200
    causal = false = tested = 0
    for seed in range(draws):
        draw = synthetic.planted(seed, rows=100, features=24, followers=2, shift=1.0, effect=0.2, prompts=12)
        found = effects_of(draw.interventions)
        clear = {name for name, effect in found.items() if effect.clear}
        causal += draw.name(draw.causal) in clear
        false += len(clear - {draw.name(draw.causal)})
        tested += len(found) - 1
    yield Outcome("inspect", "power", "a causal effect of 0.2 among noise of 0.1 a row", causal, draws, None)
    yield Outcome("inspect", "false positives", "effects of features that cause nothing, each at 5 %", false, tested, 0.05)
    beyond = pairs = 0
    for seed in range(6 if quick else 60):
        left, right, _ = synthetic.twins(seed, features=24, shared=0, noise=0.1)
        result = matching.match(left, right, weights=matching.WEIGHTS, least=0.0, shuffles=20, seed=seed)
        pairs += len(result[0])
        beyond += sum(pair.quantile >= 0.95 for pair in result[0])
    yield Outcome("match", "false positives", "pairs of features that are not the same", beyond, pairs, 0.05)


def _ranked(rows: int, shift: float, seed: int) -> ranking.Ranking:
    rng = np.random.default_rng([7, rows, seed])
    texts = np.repeat(np.arange(TEXTS), rows)
    y = rng.permutation(np.arange(TEXTS) % 2)
    x = rng.normal(size=(TEXTS, FEATURES))
    x[:, 0] += shift * y
    x = (x[texts] + (rng.normal(size=(len(texts), FEATURES)) if rows > 1 else 0.0)).astype(np.float32)
    design = split.design(y[texts].astype(float), texts, threshold=0.5, held_out=0.5, seed=seed)
    everyone = np.arange(len(texts), dtype=np.int32)
    names = [f"f{j}" for j in range(FEATURES)]
    steps = ranking.rank(
        names,
        lambda j: FeatureColumn(everyone, x[:, j], 0.0, 0.0),
        design,
        SETTINGS,
        effects={},
        others=[],
        layer=lambda name: None,
        about={},
    )
    *_, found = steps
    assert isinstance(found, ranking.Ranking)
    return found
