"""Models that a caller hands over in another library's wrapper: the module inside, which computes the same numbers, or a sentence.

    LoadedModel                 its module, without nnsight around it
    torch.compile               the module that was compiled: sampling and hooks run uncompiled
    DataParallel, DDP           the module that is copied out
    nnsight's LanguageModel     the module that it traces, if its weights are loaded
    PEFT's PeftModel            the base model with the adapters in it, which it computes with
    TransformerLens' bridge     the transformers model that it drives

A HookedTransformer is a module of its own architecture and stays as it is. Nothing here imports any of them: they are known by what they
have.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import UserError, WrongType

DEEPEST = 4
"""Wrappers in one another, such as a compiled PEFT model."""


def module_of(model: Any, *, shapes_only: bool = False) -> nn.Module:
    """The module to compute with. Raises WrongType for what holds none, UserError for one whose weights are not there.

    shapes_only: nothing is computed, so that weights on the meta device do.
    """
    for _ in range(DEEPEST):
        inner = _inside(model)
        if inner is None:
            break
        model = inner
    if not isinstance(model, nn.Module):
        hint = "give what load_model returns, or a torch module such as a transformers model"
        raise WrongType(f"the model is a {type(model).__name__}", hint)
    if not shapes_only and any(parameter.is_meta for parameter in model.parameters()):
        what = f"the weights of this {type(model).__name__} are not loaded: they are on the meta device"
        raise UserError(what, "load them first; with nnsight: LanguageModel(…, dispatch=True)")
    return model


def _inside(model: Any) -> Any:
    """What the outermost wrapper holds; None where there is no wrapper."""
    kind, home = type(model).__name__, type(model).__module__.partition(".")[0]
    if kind == "LoadedModel":
        return model.module
    if kind == "NnsightModule":  # what load_model makes for backend = 'nnsight': copies of a traced model cannot be run
        return model.inner
    if kind == "OptimizedModule":
        return model._orig_mod
    if kind in ("DataParallel", "DistributedDataParallel"):
        return model.module
    if home == "peft" and hasattr(model, "get_base_model"):
        return model.get_base_model()
    if home == "nnsight" and not isinstance(model, nn.Module):
        return getattr(model, "_module", None)
    if kind == "TransformerBridge":
        return getattr(model, "original_model", None)
    return None
