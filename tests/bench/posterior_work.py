"""What a side does for influence and susceptibilities, whichever library it uses. Runs in the child, in either environment."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from . import side


class PosteriorBench:
    """`compute_bif`, `susceptibilities` and `create_param_masks` are the library's own; looked up when first asked for."""

    def __init__(self, find: Callable[[str], Callable[..., Any]]) -> None:
        self._find = find

    def serve(self) -> None:
        side.serve({"prepare": self.prepare, "influence": self.influence, "load": self.load, "susceptibilities": self.susceptibilities})

    def prepare(self, rows: int, positions: int, chains: int, draws: int) -> Mapping[str, Any]:
        """Made-up losses of a store, the same on both sides; the library imported, and warm from a small product."""
        rng = np.random.default_rng(0)
        self._tree = _tree(rng, rows, positions, chains, draws)
        self._find("compute_bif")(_tree(rng, 2, 3, 2, 4))
        return {}

    def influence(self) -> Mapping[str, Any]:
        """One whole token BIF. `checks`: some of its numbers, by which the two sides are compared."""
        start = time.perf_counter()
        found = self._find("compute_bif")(self._tree)
        values = found["influences"].values
        seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "shape": list(values.shape),
            "checks": values[::17, ::13, ::11, ::7].ravel()[:400].astype(float).tolist(),
        }

    def load(self, model: str, rows: str) -> Mapping[str, Any]:
        """The saved model and rows that both sides sample."""
        import torch

        from . import shapes

        self._model, self._rows = shapes.load(Path(model)), torch.load(rows, weights_only=True)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._default_threads = torch.get_num_threads()
        self._model = self._model.to(self._device)
        return {"threads": self._default_threads, "device": self._device}

    def susceptibilities(
        self, restrictions: list[str], settings: dict[str, Any], context: int, threads: int | None = None
    ) -> Mapping[str, Any]:
        """Full and restricted sampling and the estimate, stores on disk included. threads: torch's, the library's default when None."""
        import torch

        from . import shapes

        torch.set_num_threads(threads or self._default_threads)
        masks = {name: None if name == "full" else self._find("create_param_masks")(self._model, name) for name in ["full", *restrictions]}
        batch, ids = settings["batch_size"], self._rows[:, : context + 1]
        train, other = shapes.as_dataset(ids[:256]), shapes.as_dataset(ids[256 : 256 + batch])
        side.SCRATCH.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=side.SCRATCH, prefix="store-"))
        try:
            start = time.perf_counter()
            found = self._find("susceptibilities")(
                self._model, train, {"train": (train, 1), "other": (other, 1)}, masks, sampling_task="train", device=self._device,
                output_path=folder / "samples.zarr", **settings,
            )  # fmt: skip
            sus = found["susceptibilities"]["sus"].values
            seconds = time.perf_counter() - start
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"seconds": seconds, "shape": list(sus.shape), "mean": sus.mean(axis=0).astype(float).tolist()}


def _tree(rng: np.random.Generator, rows: int, positions: int, chains: int, draws: int) -> xr.DataTree:
    cause = rng.standard_normal((chains, draws, 1, 1))
    losses = 3 + 0.1 * cause * rng.standard_normal((rows, positions)) + 0.1 * rng.standard_normal((chains, draws, rows, positions))
    arrays = {
        "loss_text": (("chain", "draw", "batch_text", "token_pos"), losses.astype(np.float32)),
        "input_ids_text": (("batch_text", "token"), rng.integers(0, 1000, (rows, positions + 1))),
    }
    return xr.DataTree(xr.Dataset(arrays))
