"""Probes of activations: what can be read off them by a linear map, a difference of means, or a small network.

    logistic         multinomial logistic regression, L2 (scikit-learn)
    ridge            least squares on ±1 targets, L2, in closed form: scikit-learn's weights in a tenth of its time, and probes are refitted
                     hundreds of times
    mean_difference  projection on mean₊ − mean₋, threshold half way (Marks & Tegmark 2023, arXiv 2310.06824); two classes only
    mlp              one hidden layer (scikit-learn)

Activations are standardised by the training rows' mean and standard deviation. Scores are log-odds-like: greater means the later class.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Kind = Literal["logistic", "ridge", "mean_difference", "mlp"]
Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
NETWORK_EPOCHS = 150


class Linear(NamedTuple):
    """scores = x weight + bias, in the activations' own units; one column for two classes, else one a class."""

    weight: Floats
    bias: Floats

    def scores(self, x: Floats) -> Floats:
        """Logits of each row: (rows, 1) for two classes, else (rows, classes)."""
        return x @ self.weight + self.bias

    def predict(self, x: Floats) -> Labels:
        """The likeliest class of each row, (rows,)."""
        scores = self.scores(x)
        labels: Labels = (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(1)
        return labels

    @property
    def direction(self) -> Floats:
        """The unit vector along which a two-class probe reads, (d,): what to steer along or ablate; 0 of a probe that reads nothing."""
        return np.asarray(self.weight[:, 0] / (np.linalg.norm(self.weight[:, 0]) or 1.0))


class _Network(NamedTuple):
    model: Any
    mean: Floats
    std: Floats

    def scores(self, x: Floats) -> Floats:
        p = np.clip(self.model.predict_proba((x - self.mean) / self.std), 1e-12, 1.0)
        return np.asarray(np.log(p[:, 1:]) - np.log(p[:, :1]) if p.shape[1] == 2 else np.log(p))

    def predict(self, x: Floats) -> Labels:
        return np.asarray(self.model.predict((x - self.mean) / self.std), np.int64)


def fit(kind: Kind, x: Floats, y: Labels, *, strength: float, seed: int) -> Linear | _Network:
    """Train a probe on rows (n, d) with labels 0..classes−1. `strength` is the L2 penalty on standardised activations.

    Raises UserError for a single class, or more than two where the method has no more.
    """
    classes = len(np.unique(y))
    if classes < 2:
        raise UserError("the labels are all of one class, so there is nothing to tell apart", "give rows of at least two classes")
    x = x.astype(np.float64)
    mean, std = x.mean(0), np.maximum(x.std(0), 1e-8)
    scaled = (x - mean) / std
    if kind == "mlp":
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier((64,), alpha=strength, max_iter=NETWORK_EPOCHS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a network still improving on its training rows is no news: held-out rows judge it
            return _Network(network.fit(scaled, y), mean, std)
    if kind == "mean_difference":
        if classes > 2:
            raise UserError(f"mean_difference tells two classes apart, and there are {classes}", "use probe = 'logistic'")
        ends = [scaled[y == label].mean(0) for label in (0, 1)]
        weight = (ends[1] - ends[0])[:, None]
        return _unscaled(weight, -(ends[0] + ends[1]) @ weight / 2, mean, std)
    if kind == "ridge":
        return _unscaled(*_ridge(scaled, y, classes, strength), mean, std)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / strength, max_iter=2000).fit(scaled, y)
    return _unscaled(np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_), mean, std)


def _ridge(scaled: Floats, y: Labels, classes: int, strength: float) -> tuple[Floats, Floats]:
    """argmin ‖scaled w + b − t‖² + strength ‖w‖² for targets t of ±1, one column for two classes, else one a class."""
    labels = np.unique(y)
    targets = np.where(y[:, None] == (labels[1:] if classes == 2 else labels), 1.0, -1.0)
    middle = scaled.mean(0)
    x, t = scaled - middle, targets - targets.mean(0)
    rows, width = x.shape
    penalty = strength * np.eye(min(rows, width))
    weight = np.linalg.solve(x.T @ x + penalty, x.T @ t) if width <= rows else x.T @ np.linalg.solve(x @ x.T + penalty, t)
    return weight, targets.mean(0) - middle @ weight


def _unscaled(weight: Floats, bias: Floats, mean: Floats, std: Floats) -> Linear:
    own = weight / std[:, None]
    return Linear(own, bias - mean @ own)


def auroc(scores: Floats, y: Labels) -> float:
    """Chance that a positive row scores above a negative one, ties half; the mean over classes against the rest where there are more."""
    columns = [(y == 1, scores[:, 0])] if scores.shape[1] == 1 else [(y == label, scores[:, label]) for label in range(scores.shape[1])]
    return float(np.mean([_area(positive, column) for positive, column in columns if 0 < int(positive.sum()) < len(y)]))


def _area(positive: NDArray[np.bool_], scores: Floats) -> float:
    """Mann and Whitney's U over the pairs there are: places of a positive row among the negative ones."""
    below = np.sort(scores[~positive])
    wins = np.searchsorted(below, scores[positive], "left") + np.searchsorted(below, scores[positive], "right")
    return float(wins.mean() / (2 * len(below)))
