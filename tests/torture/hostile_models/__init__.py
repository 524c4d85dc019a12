"""Model folders and GGUF files that are incomplete, misnamed, damaged or malicious, each with what loading it must do."""

from __future__ import annotations

from . import configs, ggufs, indices, tokenizers, weights
from .case import Case, sound_folder, went_off
from .ggufs import write_gguf

__all__ = ["Case", "cases", "sound_folder", "went_off", "write_gguf"]


def cases() -> list[Case]:
    """All of them, by name."""
    return [case for module in (weights, indices, configs, tokenizers, ggufs) for case in module.cases()]
