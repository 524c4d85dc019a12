"""What a step of devinterp launches: operations of PyTorch, views left out, that each further draw costs. Runs in the peer's environment.

    python -m tests.bench.launches_peer tiny     (a GPU is not needed: which operations run does not depend on where)

The count of our own side is held by tests/engine/samplers/test_launches.py on the same shapes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from devinterp.slt.sampling import sample
from torch.utils._python_dispatch import TorchDispatchMode

from . import shapes
from .work import SAMPLING


class Counter(TorchDispatchMode):
    """Counts operations that are no views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and func.overloadpacket.__name__ not in ("_local_scalar_dense", "_unsafe_view", "lift_fresh")
        return func(*args, **(kwargs or {}))


def launches(shape: shapes.Shape, draws: int, chains: int) -> int:
    """Operations of one call of `sample`."""
    model, rows = shapes.build(shape), shapes.random_rows(shape.config["vocab_size"])
    with tempfile.TemporaryDirectory() as folder, Counter() as counter:
        sample(
            model, rows, {"train": (rows, 1)}, num_chains=chains, num_draws=draws, batch_size=shape.batch,
            device="cpu", output_path=str(Path(folder) / "samples.zarr"), **SAMPLING,
        )  # fmt: skip
    return counter.count


if __name__ == "__main__":
    for name in sys.argv[1:]:
        found = {chains: launches(shapes.SHAPES[name], 4, chains) - launches(shapes.SHAPES[name], 2, chains) for chains in (1, 4)}
        print(json.dumps({"shape": name, "per_step": {chains: count / 2 for chains, count in found.items()}}))
