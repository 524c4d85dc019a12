"""Which dictionary architectures there are, and the settings each takes: read from the architectures' files. Torch-free.

An architecture is one file in this folder that states, at top level and as literals, `ARCHITECTURE = "name"` and `SETTINGS = {"setting":
default}`, and defines an `architecture.Architecture` of that name. Literals are read from the source, not by import, because a manifest
must be validated and a form drawn without torch. Settings that several architectures share are parameters of train_sae by their own name
(`Sparsity`); any other is given in its `architecture_settings`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal


@dataclass(frozen=True)
class Sparsity:
    """What makes codes sparse; each architecture picks its own."""

    k: int
    l1: float
    l0: float
    bandwidth: float
    threshold: float
    prefixes: int
    own: Mapping[str, float] = field(default_factory=dict)
    """Settings of one architecture alone, by name, defaults filled in."""


SHARED = tuple(item.name for item in fields(Sparsity) if item.name != "own")


@dataclass(frozen=True)
class Described:
    """An architecture as its file describes it: the module, and its settings with their defaults."""

    module: str
    settings: Mapping[str, float]

    @property
    def has_k(self) -> bool:
        """Whether it takes a number of active latents, which cannot be more than there are."""
        return "k" in self.settings

    @property
    def own(self) -> dict[str, float]:
        """The settings that no other architecture need have, with their defaults."""
        return {name: default for name, default in self.settings.items() if name not in SHARED}

    def check(self, given: Mapping[str, object]) -> dict[str, float]:
        """Its own settings with defaults filled in. Raises ValueError for one it does not have or that is no finite number."""
        for name, value in given.items():
            if name not in self.own:
                raise ValueError(f"architecture_settings.{name} is unknown; allowed: {', '.join(self.own) or 'none for this architecture'}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"architecture_settings.{name} must be a finite number, not {value!r}")
        return {**self.own, **{name: float(value) for name, value in given.items() if isinstance(value, int | float)}}


def _discover() -> dict[str, Described]:
    described: dict[str, Described] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\nARCHITECTURE = " in text:
            literals = _literals(text)
            described[literals["ARCHITECTURE"]] = Described(path.stem, literals["SETTINGS"])
    return described


def _literals(source: str) -> dict[str, Any]:
    assigned = (node for node in ast.parse(source).body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name))
    named = {node.targets[0].id: node.value for node in assigned if isinstance(node.targets[0], ast.Name)}
    return {name: ast.literal_eval(value) for name, value in named.items() if name in ("ARCHITECTURE", "SETTINGS")}


ARCHITECTURES: dict[str, Described] = _discover()
NAMES = tuple(ARCHITECTURES)
if TYPE_CHECKING:
    ArchitectureName = str
else:
    ArchitectureName = Literal[NAMES]
