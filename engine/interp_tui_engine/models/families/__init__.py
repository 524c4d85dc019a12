"""Which family a model belongs to. A family is one value in one file of this folder; a file that states `FAMILIES` is found by itself.

Torch-free: families are facts about names and layouts, and are looked up before anything is loaded.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from interp_tui_engine.errors import UserError

from .family import Attention, Family, Layout
from .transformer_lens import MODEL_TYPE as HOOKED_TRANSFORMER

__all__ = ["Attention", "Family", "Layout", "config_of", "family_in", "family_of", "known_types", "model_type_of", "text_config_of"]


@cache
def _by_type() -> dict[str, tuple[Family, ...]]:
    families: dict[str, tuple[Family, ...]] = {}
    for module in pkgutil.iter_modules(__path__):
        for family in getattr(importlib.import_module(f".{module.name}", __name__), "FAMILIES", ()):
            for model_type in family.model_types:
                families[model_type] = (*families.get(model_type, ()), family)
    return families


def known_types() -> tuple[str, ...]:
    """Every `model_type` that some family describes."""
    return tuple(sorted(_by_type()))


def model_type_of(config: Any) -> str:
    """`config.model_type`, or the name used here for a TransformerLens `cfg`; empty where there is neither."""
    if hasattr(config, "model_type"):
        return str(config.model_type)
    return HOOKED_TRANSFORMER if hasattr(config, "n_heads") and hasattr(config, "d_head") else ""


def config_of(model: Any) -> Any:
    """A model's configuration: transformers' `config`, or the `cfg` of a TransformerLens model; None for a module that has neither."""
    config = getattr(model, "config", None)
    return config if hasattr(config, "model_type") else getattr(model, "cfg", config)


def text_config_of(config: Any) -> Any:
    """The part of a configuration that describes the language model: itself, or its `text_config` in a model of several media."""
    inner = getattr(config, "text_config", None)
    return config if inner is None or model_type_of(config) in _by_type() else inner


def family_in(config: Any, names: Iterable[str]) -> Family:
    """`family_of`, with its paths as they are in a model whose parameters have these names: a language model may be a part of the model."""
    family, inside = family_of(config), "model.language_model."
    blocks = family.blocks.replace("model.", inside, 1)
    if not family.blocks.startswith("model.") or not any(name.startswith(f"{blocks}.") for name in names):
        return family
    return replace(
        family,
        blocks=blocks,
        embed=tuple(path.replace("model.", inside, 1) for path in family.embed),
        final_norm=family.final_norm.replace("model.", inside, 1),
    )


def family_of(config: Any) -> Family:
    """The family of a transformers configuration, or of a TransformerLens one.

    Raises UserError for a model type that no family describes, with the most similar one that is.
    """
    config = text_config_of(config)
    name = model_type_of(config)
    for family in _by_type().get(name, ()):
        if family.when is None or family.when(config):
            return family
    near = get_close_matches(name, known_types(), n=1)
    meant = f"{near[0]!r} is known; " if near else ""
    whose = f"{name or type(config).__name__!r} models" if config is not None else "a module without a configuration"
    raise UserError(
        f"the layout of {whose} is not known, so its layers and heads cannot be named",
        f"{meant}'full' and parameter names work with any model",
    )
