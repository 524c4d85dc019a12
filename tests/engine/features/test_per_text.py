"""Several rows a text: means by hand, and noise that rows alone would call a finding."""

from __future__ import annotations

import numpy as np
import pytest

from interp_tui_engine.features import ranking, split
from interp_tui_engine.features.column_store import FeatureColumn
from interp_tui_engine.features.per_text import per_text

SETTINGS = ranking.RankingSettings(alpha=0.05, permutations=100, minimum=5, seed=0, seed_ranking=False, threads=1)


def rank(x: np.ndarray, y: np.ndarray, texts: np.ndarray, seed: int) -> ranking.Ranking:  # type: ignore[type-arg]
    def column(j: int) -> FeatureColumn:
        return FeatureColumn(np.arange(len(x), dtype=np.int32), x[:, j].astype(np.float32), 0.0, 0.0)

    design = split.design(y.astype(float), texts, threshold=0.5, held_out=0.5, seed=seed)
    names = [f"f{j}" for j in range(x.shape[1])]
    *_, found = ranking.rank(names, column, design, SETTINGS, effects={}, others=[], layer=lambda name: None, about={})
    assert isinstance(found, ranking.Ranking)
    return found


def noise(seed: int, rows: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """100 texts of some rows, 50 features that differ between texts and have nothing to do with the label."""
    rng = np.random.default_rng(seed)
    texts = np.repeat(np.arange(100), rows)
    x = rng.normal(size=(100, 50))[texts] + rng.normal(size=(len(texts), 50))
    return x, rng.permutation(np.arange(100) % 2)[texts], texts


def test_means_by_hand() -> None:
    score, texts = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 1, 2, 2])
    everyone = np.ones(6, dtype=bool)
    found = per_text(split.Design(score, score > 0.5, texts, everyone, texts))
    assert found is not None and found.unit.tolist() == [0, 0, 1, 1, 2, 3], "a text of both classes has a mean for each"
    column = found.column(FeatureColumn(np.array([0, 1, 4], np.int32), np.array([3.0, 5.0, 2.0], np.float32), -1.0, 1.0))
    assert column.rows.tolist() == [0, 2] and column.values.tolist() == [4.0, 2.0]
    half = found.column(FeatureColumn(np.array([0], np.int32), np.array([3.0], np.float32), -1.0, 1.0))
    assert half.values.tolist() == [1.0], "a row that does not name the feature has the implicit value"
    assert per_text(split.Design(score, score > 0.5, np.arange(6), everyone, texts)) is None


def test_rows_of_one_text_are_not_evidence_of_their_own() -> None:
    called = [rank(*noise(seed), seed) for seed in range(6)]
    # 12 of 50 features a run by rows; by text one false discovery in twenty runs is nominal
    assert sum(found.summary["associated"] for found in called) <= 2
    assert sum(min(found.table["family_p"]) <= 0.05 for found in called) <= 2
    assert called[0].summary["unit"] == "text" and called[0].summary["rows"] == 2000 and called[0].summary["held_out_rows"] == 50


def test_a_feature_of_the_texts_is_found() -> None:
    x, y, texts = noise(7)
    x[:, 3] += 3.0 * y
    found = rank(x, y, texts, 7)
    assert found.table["feature_id"][0] == "f3" and found.table["tier"][0] == 1
    assert found.table["auroc"][0] == pytest.approx(1.0, abs=0.05)
