"""nnsight: a `TransformersModel` around the model. Whole forward passes are nnsight's; sites are read and written at the same modules.

`LoadedModel.native` is nnsight's own model, to trace with: `with loaded.native.trace(ids): ...`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, final

from torch import Tensor, nn

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.loaded import LoadedModel


@final
class NnsightModule(nn.Module):
    """A model that nnsight runs; all but the forward pass is the model's own."""

    def __init__(self, module: nn.Module, native: Any) -> None:
        super().__init__()
        self.inner = module
        object.__setattr__(self, "native", native)  # not a submodule: it holds the same modules once more

    def forward(self, input_ids: Tensor, **given: Any) -> Any:
        """What the model answers, as nnsight's trace saves it. ids: (batch, pos); logits (batch, pos, vocabulary)."""
        with self.native.trace(input_ids, **given):
            output = self.native.output.save()
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)


def drive(model: LoadedModel) -> LoadedModel:
    """The model, run by nnsight. Raises UserError for a version without TransformersModel."""
    try:
        from nnsight.modeling.transformers import TransformersModel
    except ImportError:
        raise UserError("this nnsight has no TransformersModel", "pip install 'nnsight>=0.8'") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        native = TransformersModel(model.module, tokenizer=model.tokenizer, task="text-generation")
    return replace(model, module=NnsightModule(model.module, native), native=native)
