"""What a side does whichever library it uses: build the model, sample, measure the machine. Runs in the child, in either environment."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from . import shapes, side

SAMPLING = {"lr": 1e-4, "n_beta": 30.0, "localization": 100.0, "num_init_loss_batches": 1, "init_seed": 100}
"""Settings of the timed runs: localised SGLD, a draw every step. One batch for the loss at w0, since that is no sampling."""


class Bench:
    """One model on one side. `sample` and `compute_llc` are the library's own."""

    def __init__(self, sample: Callable[..., Any], compute_llc: Callable[..., Any]) -> None:
        self._sample, self._compute_llc = sample, compute_llc
        self._default_threads = torch.get_num_threads()
        self._device = "cuda" if torch.cuda.is_available() else "cpu"

    def serve(self) -> None:
        side.serve({"build": self.build, "unit": self.unit, "traces": self.traces})

    def build(self, shape: str) -> Mapping[str, Any]:
        """Make the model and its data. Returns versions, sizes, and the memory that all this takes before any sampling."""
        import transformers

        self._shape = shapes.SHAPES[shape]
        self._model = shapes.build(self._shape).to(self._device)
        self._rows = shapes.random_rows(self._shape.config["vocab_size"])
        torch.get_num_threads()
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": self._default_threads,
            "device": torch.cuda.get_device_name() if self._device == "cuda" else "cpu",
            "parameters": sum(p.numel() for p in self._model.parameters()),
            "matmuls": shapes.matmuls(self._model),
        }

    def unit(self, draws: int, threads: int | None = None, **options: Any) -> Mapping[str, Any]:
        """One whole `sample()` call, store on disk included. threads: torch's, the library's default when None."""
        torch.set_num_threads(threads or self._default_threads)
        shape = self._shape
        with _store() as path:
            torch.cuda.synchronize() if self._device == "cuda" else None
            start, spent = time.perf_counter(), time.process_time()
            tree = self._sample(
                self._model, self._rows, {"train": (self._rows, 1)}, num_chains=shape.chains, num_draws=draws, batch_size=shape.batch,
                device=self._device, output_path=path, **SAMPLING, **options,
            )  # fmt: skip
            torch.cuda.synchronize() if self._device == "cuda" else None
            seconds, spent = time.perf_counter() - start, time.process_time() - spent
            losses = tree["sampling_loss_micro"].shape
            written = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        tokens = losses[0] * losses[1] * losses[2] * losses[3]
        gpu = torch.cuda.max_memory_allocated() / 2**20 if self._device == "cuda" else None
        return {
            "seconds": seconds,
            "processor_seconds": spent,
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
            "written_mib": written / 2**20,
            "gpu_mib": gpu,
        }

    def traces(self, model: str, rows: str, settings: dict[str, Any], **options: Any) -> Mapping[str, Any]:
        """LLC per chain and the loss of every step, for a saved model and saved rows."""
        torch.set_num_threads(self._default_threads)
        ids = torch.load(rows, weights_only=True)
        data = shapes.as_dataset(ids)
        with _store() as path:
            tree = self._sample(shapes.load(Path(model)), data, {}, device=self._device, output_path=path, **settings, **options)
            found = self._compute_llc(tree)
            trace = tree["sampling_loss_micro"].mean(["batch_sampling", "token_pos"]).values.astype(float)
            return {
                "llc": found.llc_per_chain.values.astype(float).tolist(),
                "init": float(tree["init_loss"].mean()),
                "trace": trace.tolist(),
            }


class _store:
    """A path for a new Zarr store on the disk of the checkout, removed afterwards."""

    def __enter__(self) -> Path:
        side.SCRATCH.mkdir(exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=side.SCRATCH, prefix="store-"))
        return self._folder / "samples.zarr"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
