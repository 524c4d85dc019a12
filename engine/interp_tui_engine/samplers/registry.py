"""Which file implements a sampling method. Torch-free.

A sampler is one file in this folder that states, at top level and as literals, `METHOD = "name"` and `SETTINGS = {"setting": default}`,
and defines `init` and `step` (see `kernel.Kernel`); where it has them also `BOUNDS = {"setting": (low, high)}`, open ends, and
`LANGEVIN = False`. Literals are read from the source, not by import, because a manifest must be validated without loading torch.

A sampler whose coordinates depend on one another also defines `couple(state, moving, config)`, called once after the steps of all blocks.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Method:
    """A sampling method: its module and its own settings with their defaults."""

    module: str
    settings: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]
    langevin: bool
    """Whether its update is a Langevin step: gradient, prior and noise with one G, which metrics and MALA acceptance take apart."""

    def check(self, given: Mapping[str, object]) -> None:
        """Raise ValueError when a setting is unknown, or is not a finite number."""
        for key, value in given.items():
            if key not in self.settings:
                raise ValueError(f"sampling_method_kwargs.{key} is unknown; allowed: {', '.join(self.settings) or 'none for this method'}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"sampling_method_kwargs.{key} must be a finite number, not {value!r}")
            low, high = self.bounds.get(key, (-math.inf, math.inf))
            if not low < value < high:
                raise ValueError(f"sampling_method_kwargs.{key} must lie between {low:g} and {high:g}, not {value!r}")


def _literals(source: Path) -> dict[str, Any]:
    literals = {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("METHOD", "SETTINGS", "BOUNDS", "LANGEVIN"):
                literals[name] = ast.literal_eval(node.value)
    return literals


def _discover() -> dict[str, Method]:
    methods = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "METHOD = " in path.read_text(encoding="utf-8") and path.stem != "registry":
            literals = _literals(path)
            if "METHOD" in literals:
                methods[literals["METHOD"]] = Method(
                    path.stem, literals.get("SETTINGS", {}), literals.get("BOUNDS", {}), literals.get("LANGEVIN", True)
                )
    return methods


METHODS: dict[str, Method] = _discover()
