"""Names of features: `L6:D512` a hidden dimension, `SAE:L6:F30` a latent, `direction:contrast:L6:slug` a direction."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_LAYER = re.compile(r"(?:^|[^A-Za-z0-9])L(\d+)(?:[^A-Za-z0-9]|$)")
_HIDDEN = re.compile(r"L(\d+):D(\d+)")
_LATENT = re.compile(r"SAE:L(\d+):F(\d+)")
_DIRECTION = re.compile(r"direction:[^:]+:L(\d+):(.+)")
FORMS = "write a hidden dimension as L2:D95, a latent as SAE:L2:F417, a direction as direction:NAME:L2:x"
"""What a name may look like, for error messages."""


class FeatureName(NamedTuple):
    """What an id says: which layer, and which dimension or latent of it (None for a direction, which has a slug)."""

    kind: Literal["hidden", "sae", "direction"]
    layer: int
    number: int | None
    slug: str = ""


def hidden(layer: int, dimension: int) -> str:
    """The id of a hidden dimension."""
    return f"L{layer}:D{dimension}"


def latent(layer: int, index: int) -> str:
    """The id of an SAE latent."""
    return f"SAE:L{layer}:F{index}"


def direction(layer: int, text: str) -> str:
    """The id of a contrast direction for the criterion `text`."""
    return f"direction:contrast:L{layer}:{slug(text)}"


def slug(text: str) -> str:
    """Lower-case words joined by '-', at most 48 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-") or "criterion"


def parse(name: str) -> FeatureName | None:
    """What an id of ours says; None for a foreign one."""
    if match := _HIDDEN.fullmatch(name):
        return FeatureName("hidden", int(match[1]), int(match[2]))
    if match := _LATENT.fullmatch(name):
        return FeatureName("sae", int(match[1]), int(match[2]))
    if match := _DIRECTION.fullmatch(name):
        return FeatureName("direction", int(match[1]), None, match[2])
    return None


def layer_of(name: str) -> int | None:
    """The layer that any id names by an `L` and digits standing for themselves."""
    match = _LAYER.search(name)
    return int(match[1]) if match else None
