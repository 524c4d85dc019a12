"""A linear probe by interpretability-toolkit's names: `LinearProbe(input_dim, num_classes)`, `.train`, `.evaluate`; safetensors on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np

from .. import atomic
from ..errors import UserError
from .classifiers import Kind, Linear, fit


@final
class LinearProbe:
    """Reads a class off activations (n, input_dim). Labels are integers 0..num_classes−1."""

    def __init__(self, input_dim: int, num_classes: int = 2, *, kind: Kind = "logistic", strength: float = 1.0) -> None:
        if num_classes < 2:
            raise UserError(f"num_classes = {num_classes}; a probe tells at least 2 apart", "use 2 or more")
        if kind == "mlp":
            raise UserError("kind = 'mlp' is not linear", "use probes.classifiers.fit for a small network")
        self.input_dim, self.num_classes, self.kind, self.strength = input_dim, num_classes, kind, strength
        self.fitted: Linear | None = None

    def train(self, activations: Any, labels: Any, epochs: int | None = None) -> LinearProbe:
        """Fit to convergence. `epochs` is taken for compatibility and means nothing: the problem is convex and solved, not iterated.

        Raises UserError for labels that are no class of each row.
        """
        x, y = self._rows(activations), np.asarray(labels, np.int64)
        if y.shape != (len(x),):
            raise UserError(f"{len(x)} activations and labels of shape {y.shape}", "give one label a row")
        if y.min() < 0 or y.max() >= self.num_classes:
            raise UserError(f"labels run from {y.min()} to {y.max()}", f"they must be 0 to {self.num_classes - 1}")
        if len(np.unique(y)) < self.num_classes:
            raise UserError(f"only {len(np.unique(y))} of {self.num_classes} classes are among the labels", "give rows of every class")
        trained = fit(self.kind, x, y, strength=self.strength, seed=0)
        assert isinstance(trained, Linear)
        self.fitted = trained
        return self

    def predict(self, activations: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The class of each row. Shape (rows,)."""
        return self._trained.predict(self._rows(activations))

    def evaluate(self, activations: Any, labels: Any) -> float:
        """Accuracy on rows that should not be those of training."""
        return float((self.predict(activations) == np.asarray(labels)).mean())

    @property
    def direction(self) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
        """The unit vector a two-class probe reads along. Shape (width,)."""
        return self._trained.direction

    def save(self, path: str | Path) -> None:
        """Write weight (input_dim, 1 or classes) and bias as safetensors."""
        from safetensors.numpy import save_file

        held = self._trained
        meta = {"kind": self.kind, "num_classes": str(self.num_classes), "strength": repr(self.strength)}
        with atomic.replacing(Path(path)) as beside:
            save_file({"weight": np.ascontiguousarray(held.weight), "bias": np.ascontiguousarray(held.bias)}, str(beside), metadata=meta)

    @staticmethod
    def load(path: str | Path) -> LinearProbe:
        """A probe that `save` wrote. Raises UserError for a file that holds none."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "np") as file:
                meta, weight, bias = file.metadata() or {}, file.get_tensor("weight"), file.get_tensor("bias")
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read a probe from {path}: {error}", "give a .safetensors file that a probe was saved to") from None
        probe = LinearProbe(weight.shape[0], int(meta.get("num_classes", 2)), kind=meta.get("kind", "logistic"))
        probe.fitted = Linear(weight, bias)
        return probe

    @property
    def _trained(self) -> Linear:
        if self.fitted is None:
            raise UserError("this probe has not been trained", "call train(activations, labels) first")
        return self.fitted

    def _rows(self, activations: Any) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
        x = np.asarray(activations.detach().cpu().float() if hasattr(activations, "detach") else activations, np.float64)
        if x.ndim != 2 or x.shape[1] != self.input_dim:
            raise UserError(f"activations of shape {x.shape}", f"this probe reads rows of {self.input_dim} numbers")
        return x
