"""Probes: they find a direction that is there, find none in noise, keep groups whole, and come back from disk as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.probes.classifiers import Linear, auroc, fit
from interp_tui_engine.probes.evaluate import ProbeSettings, cross_validate, folds_of, permuted_labels
from interp_tui_engine.probes.recurrence import recurrence

LINEAR = ("logistic", "ridge", "mean_difference")
SETTINGS = ProbeSettings(folds=4, repeats=2, controls=2, permutations=0, strength=1.0, resamples=50, seed=3)


def rows(n=200, d=12, gap=3.0, seed=0):
    """Two Gaussian clouds `gap` apart along a known unit direction, on axes of very different scale."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    return rng.normal(size=(n, d)) + gap * (y - 0.5)[:, None] * direction, y.astype(np.int64), direction


@pytest.mark.parametrize("kind", LINEAR)
def test_a_linear_probe_finds_the_direction(kind):
    x, y, direction = rows(4000)
    probe = fit(kind, x, y, strength=1.0, seed=0)
    assert isinstance(probe, Linear) and float(probe.direction @ direction) > 0.97
    # two unit Gaussians three apart: the best any rule can do is Φ(1.5) = 0.9332; its standard error here is 0.004
    assert float((probe.predict(x) == y).mean()) == pytest.approx(0.9332, abs=0.016)


@pytest.mark.parametrize("kind", LINEAR)
def test_scores_are_those_of_the_scaled_fit_in_the_activations_own_units(kind):
    x, y, _ = rows(300)
    stretched = x * np.array([1e3, 1e-3, *[1.0] * 10]) + 5.0
    plain, other = fit(kind, x, y, strength=1.0, seed=0), fit(kind, stretched, y, strength=1.0, seed=0)
    np.testing.assert_allclose(plain.scores(x), other.scores(stretched), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*LINEAR, "mlp"])
def test_noise_has_nothing_to_read_and_a_label_has(kind):
    x, y, _ = rows(160)
    found = cross_validate(kind, x, y, np.arange(160), SETTINGS)
    assert found.accuracy > 0.8 and found.auroc_low < found.auroc < found.auroc_high
    # the control is a coin: 160 fair throws stay within four standard errors of one half
    assert abs(found.control_accuracy - 0.5) < 4 * 0.5 / np.sqrt(160)
    noise = np.random.default_rng(9).normal(size=x.shape)
    assert abs(cross_validate(kind, noise, y, np.arange(160), SETTINGS).accuracy - 0.5) < 4 * 0.5 / np.sqrt(160)


def test_a_group_is_never_on_both_sides():
    groups, y = np.repeat(np.arange(20), 3), np.repeat(np.arange(20) % 2, 3)
    for train, test in folds_of(y, groups, 4, 0):
        assert not set(groups[train]) & set(groups[test])
    # what is known of a group by heart is worth nothing on another group
    x = np.eye(20)[groups]
    found = cross_validate("logistic", x, y, groups, replace(SETTINGS, strength=0.01, permutations=20))
    assert found.accuracy < 0.7 and found.p > 0.05
    # but all of it is known by heart, the labels and any others: that is what selectivity takes off
    assert found.control_accuracy == found.recurring_accuracy == 1.0 and found.selectivity == 0.0


def test_groups_are_the_same_in_every_process():
    # four words after four others: each may be template or subject, and only the order in the text can decide
    texts = [f"{left} {right}" for left in ("red", "blue", "green", "black") for right in ("cat", "dog", "cow", "hen")]
    code = "import numpy as np; from interp_tui_engine.probes.recurrence import recurrence; "
    code += f"print(recurrence({texts}, np.arange(16) % 2, None))"
    said = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1 and b"templates of" in said.pop()


@given(st.integers(2, 40), st.integers(0, 10_000))
def test_auroc_is_the_share_of_pairs_in_order(n, seed):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 5, n).astype(float), rng.permutation(np.arange(n) % 2)
    pairs = [(1.0 if a > b else 0.5 if a == b else 0.0) for a in scores[y == 1] for b in scores[y == 0]]
    assert auroc(scores[:, None], y) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("width", [5, 90])
def test_ridge_and_auroc_are_those_of_scikit_learn(classes, width):
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(width + classes)
    y = rng.integers(0, classes, 60)
    x = rng.normal(size=(60, width)) * rng.uniform(0.5, 2, width) + 0.3 * y[:, None]
    probe = fit("ridge", x, y, strength=2.0, seed=0)
    peer = RidgeClassifier(alpha=2.0).fit((x - x.mean(0)) / x.std(0), y)
    expected = peer.decision_function((x - x.mean(0)) / x.std(0)).reshape(60, -1)
    np.testing.assert_allclose(probe.scores(x), expected, rtol=1e-9, atol=1e-9)
    peers = [roc_auc_score(y == label, expected[:, column]) for column, label in enumerate([1] if classes == 2 else range(classes))]
    assert auroc(probe.scores(x), y) == pytest.approx(np.mean(peers), abs=1e-12)


def test_more_classes_than_two():
    rng = np.random.default_rng(0)
    y = np.arange(150) % 3
    x = rng.normal(size=(150, 6)) + 3 * np.eye(6)[y]
    found = cross_validate("logistic", x, y, np.arange(150), replace(SETTINGS, folds=3))
    assert found.accuracy > 0.85 and found.auroc > 0.95
    with pytest.raises(UserError, match="there are 3"):
        fit("mean_difference", x, y, strength=1.0, seed=0)


COUNTRIES = ("France", "Italy", "Spain", "Japan", "Egypt", "China", "India", "Kenya", "Cuba", "New Zealand")
TEMPLATES = ("The capital of {} is", "{}'s capital is", "In {} people speak", "The flag of {} shows", "A map of {} lay there")


def test_labels_that_hang_on_subjects_keep_a_subjects_rows_together():
    """A random label per country, five templates and no group given: by row, AUROC 1 would say that the label can be read."""
    texts = [template.format(country) for country in COUNTRIES for template in TEMPLATES]
    y = np.repeat(np.arange(10) % 2, 5)
    found = recurrence(texts, y, None)
    assert [len(set(found.groups[5 * i : 5 * i + 5].tolist())) for i in range(10)] == [1] * 10 and len(set(found.groups.tolist())) == 10
    assert "5 templates of 10 subjects" in found.notes[0] and "France" in found.notes[0]
    # with groups given, they stand; what crosses them is named
    own = recurrence(texts, y, np.arange(50))
    assert (own.groups == np.arange(50)).all() and "'France' stands in several groups" in own.notes[0]


def test_labels_that_hang_on_templates_keep_a_templates_rows_together():
    good, bad = ("I love {} a lot", "{} was a joy", "{} is the best"), ("I hate {} a lot", "{} was a bore", "{} is the worst")
    texts = [template.format(country) for template in (*good, *bad) for country in COUNTRIES]
    y = np.repeat([1, 1, 1, 0, 0, 0], 10)
    found = recurrence(texts, y, None)
    assert len(set(found.groups.tolist())) == 6 and "the label hangs on the template" in found.notes[0]
    two = recurrence(texts[:10] + texts[30:40], np.repeat([1, 0], 10), None)
    assert len(set(two.groups.tolist())) == 20 and "a probe may read the template and nothing else" in two.notes[0]


def test_copies_are_one_group_and_texts_of_their_own_are_left_alone():
    texts = ["a dog barks at night", "some rain fell", " A dog  barks at night", "three ships came by", "no wind today at all"]
    found = recurrence(texts, np.array([0, 1, 1, 0, 1]), None)
    assert found.groups[0] == found.groups[2] and len(set(found.groups.tolist())) == 4
    assert "(2 times)" in found.notes[0] and "different labels" in found.notes[1]
    assert recurrence(texts[1:4], np.array([0, 1, 1]), None).notes == []


def test_permuted_labels_are_dealt_among_groups_or_within_them():
    rng = np.random.default_rng(0)
    pure = permuted_labels(np.array([0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2]), rng)
    assert (pure[::2] == pure[1::2]).all()
    mixed = permuted_labels(np.array([0, 1, 1, 0, 0, 0]), np.array([0, 0, 0, 1, 1, 1]), rng)
    assert mixed[:3].sum() == 2 and not mixed[3:].any()


def test_a_perfect_probe_of_few_rows_is_not_sure_of_itself():
    x = np.array([[-2.0], [-1.0], [-1.5], [-2.5], [1.0], [1.5], [2.0], [2.5]])
    found = cross_validate("ridge", x, np.repeat([0, 1], 4), np.arange(8), replace(SETTINGS, folds=2))
    assert found.auroc == 1.0 and found.auroc_low < 0.6


def test_the_seeds_own_names_and_the_way_to_disk_and_back(tmp_path):
    x, y, _ = rows(300)
    probe = engine.LinearProbe(input_dim=12, num_classes=2)
    probe.train(activations=x[:200], labels=y[:200], epochs=50)
    accuracy = probe.evaluate(x[200:], y[200:])
    assert accuracy > 0.8
    probe.save(tmp_path / "probe.safetensors")
    again = engine.LinearProbe.load(tmp_path / "probe.safetensors")
    assert (again.predict(x) == probe.predict(x)).all() and again.kind == "logistic"


@pytest.mark.parametrize(
    "do, said",
    [
        (lambda: folds_of(np.zeros(9, np.int64), np.arange(9), 3, 0), "labels are the same"),
        (lambda: folds_of(np.arange(6) % 2, np.arange(6), 5, 0), "3 rows of the rarest class, fewer than folds = 5"),
        (lambda: folds_of(np.arange(12) % 2, np.arange(12) // 6, 3, 0), "2 groups, fewer than folds = 3"),
        (lambda: engine.LinearProbe(4).predict(np.zeros((2, 4))), "has not been trained"),
        (lambda: engine.LinearProbe(4).train(np.zeros((2, 5)), [0, 1]), "reads rows of 4 numbers"),
        (lambda: engine.LinearProbe(4).train(np.zeros((2, 4)), [0, 0]), "only 1 of 2 classes"),
        (lambda: engine.LinearProbe(4).train(np.zeros((2, 4)), [0, 7]), "run from 0 to 7"),
        (lambda: engine.LinearProbe.load("/nowhere.safetensors"), "cannot read a probe"),
    ],
)
def test_what_cannot_be_probed(do, said):
    with pytest.raises(UserError, match=said):
        do()
