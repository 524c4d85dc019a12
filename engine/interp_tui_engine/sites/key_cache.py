"""What transformers calls the cache of keys and values: `cache`, and `past_key_values` in the versions before, which newer ones refuse."""

from __future__ import annotations

import inspect
from typing import Any

OLD, NEW = "past_key_values", "cache"


def cache_argument(module: Any) -> str:
    """The name under which the module's forward pass takes a cache."""
    return NEW if NEW in inspect.signature(module.forward).parameters else OLD


def cache_in(output: Any) -> Any:
    """The cache in what a forward pass gave back; None where it kept none."""
    held = output.get(NEW)
    return output.get(OLD) if held is None else held
