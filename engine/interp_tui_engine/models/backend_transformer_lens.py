"""TransformerLens 3.9 or newer: a `TransformerBridge` around the model, whose hook points are then the sites.

The bridge puts its own components into the model it is given, which runs through them from then on, with attention made explicit (eager):
logits differ from those of fused attention by rounding. Nothing is folded or centred: activations are the model's own.
"""

from __future__ import annotations

from dataclasses import replace

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.loaded import LoadedModel


def drive(model: LoadedModel) -> LoadedModel:
    """The model inside its bridge, `native`. Raises UserError for an architecture that TransformerLens does not know."""
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError:
        raise UserError("this transformer_lens has no TransformerBridge", "pip install 'transformer-lens>=3.9'") from None
    try:
        bridge = TransformerBridge.boot_transformers(
            model.source, hf_model=model.module, tokenizer=model.tokenizer, device=model.device, dtype=model.dtype
        )
    except Exception as error:  # an unknown architecture fails wherever its adapter is first asked for something
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{model.source}: TransformerLens cannot take this model ({first})", "use backend = 'transformers'") from None
    bridge.train(False)
    object.__setattr__(model.module, "hooked", bridge)  # not a submodule: the bridge holds the model, not the other way round
    return replace(model, native=bridge)
