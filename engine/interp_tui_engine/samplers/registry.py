"""Which file implements a sampling method. Torch-free.

A sampler is one file in this folder that states, at top level and as literals, `METHOD = "name"` and `SETTINGS = {"setting": default}`,
and defines `init` and `step` (see `Kernel`); where it has them also `BOUNDS = {"setting": (low, high)}`, open ends, and
`LANGEVIN = False`. Literals are read from the source, not by import, because a manifest must be validated without loading torch.

A sampler whose coordinates depend on one another also defines `couple(state, moving, config)`, called once after the steps of all blocks.
"""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import torch

    from .settings import SamplerConfig


class Kernel(Protocol):
    """The two functions a sampler file defines. Tensors are flat vectors `(p,)` or stacks of them `(chains, p)`.

    Randomness comes in as `noise`, standard normal and shaped like the weights; `step` may use it as scratch.
    """

    State: type[Any]
    """A frozen dataclass whose fields are vectors: `weights`, and others shaped like them."""

    def init(self, weights: torch.Tensor, config: SamplerConfig) -> Any: ...

    def step(
        self,
        state: Any,
        gradient: torch.Tensor,
        noise: torch.Tensor,
        anchor: torch.Tensor,
        mask: torch.Tensor | None,
        config: SamplerConfig,
    ) -> Any: ...

    def conditioner(self, state: Any, config: SamplerConfig) -> torch.Tensor | None: ...


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

    def kernel(self) -> Kernel:
        """Import the implementation (and torch with it)."""
        return cast(Kernel, importlib.import_module(f".{self.module}", __package__))

    def vectors(self) -> tuple[str, ...]:
        """Names of the vectors that the sampler's state holds besides the weights."""
        return tuple(f.name for f in fields(self.kernel().State) if f.name != "weights")


def _literals(source: Path) -> dict[str, Any]:
    found = {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("METHOD", "SETTINGS", "BOUNDS", "LANGEVIN"):
                found[name] = ast.literal_eval(node.value)
    return found


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
