"""Next-token losses of any causal language model: the fused path where the model's head allows it, plain logits elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...errors import out_of_memory
from ...models.halving import in_halves
from .losses import cross_entropy, linear_cross_entropy, plain_cross_entropy
from .tied_gradient import TiedGradient, tie

LossFn = Callable[[nn.Module, Tensor], Tensor]
"""(model, input_ids (b, t+1)) -> per-token loss (b, t)."""


@dataclass(frozen=True)
class Head:
    """What a model does to its last hidden state: z = scale · (W h) + b, then an optional soft cap."""

    scale: float
    softcap: float | None


def with_parameters(module: nn.Module, leaves: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `module` in eval mode that computes with `leaves`; parameters not among them are shared and need no gradient.

    Eval mode always: dropout would add its own noise to the sampled loss (it does in devinterp, for GPT-2).
    """
    memo: dict[int, Any] = {}
    for name, p in module.named_parameters():
        memo[id(p)] = leaves[name] if name in leaves else nn.Parameter(p.detach(), requires_grad=False)
    return copy.deepcopy(module, memo).eval()


def forward_logits(model: nn.Module, input_ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
    """Logits of a Hugging Face model, a TransformerLens model, or any module that returns a tensor or something with `.logits`."""
    if hasattr(model, "cfg") and hasattr(model.cfg, "n_heads"):
        output = model(input_ids, return_type="logits")
    elif hasattr(model, "config") and hasattr(model, "get_output_embeddings"):
        output = model(input_ids=input_ids, use_cache=False)
    else:
        output = model(input_ids)
    if isinstance(output, Tensor):
        return output
    logits: Tensor = output.logits if hasattr(output, "logits") else output[0]
    return logits


def _backbone(model: nn.Module) -> nn.Module | None:
    find: Any = getattr(model, "get_decoder", None)
    backbone = find() if find is not None else getattr(model, "base_model", None)
    return backbone if isinstance(backbone, nn.Module) and backbone is not model else None


def _unembedding(model: nn.Module) -> nn.Linear | None:
    find: Any = getattr(model, "get_output_embeddings", None)
    unembedding = find() if find is not None else None
    return unembedding if isinstance(unembedding, nn.Linear) else None


def tie_gradients(model: nn.Module) -> TiedGradient | None:
    """Let the model's embedding and unembedding share one gradient where they share one matrix; changes the model given."""
    backbone, unembedding = _backbone(model), _unembedding(model)
    find: Any = getattr(backbone, "get_input_embeddings", None)
    embedding = find() if find is not None else None
    return tie(embedding, unembedding) if isinstance(embedding, nn.Module) and unembedding is not None else None


def fused_losses(
    model: nn.Module, head: Head, input_ids: Int[Tensor, "b t1"], budget: int, tied: TiedGradient | None = None
) -> Float[Tensor, "b t"]:
    """Per-token losses from the backbone's hidden state; the last token is a target only, so it is not fed."""
    backbone, unembedding = _backbone(model), _unembedding(model)
    assert backbone is not None and unembedding is not None
    output = backbone(input_ids=input_ids[:, :-1], use_cache=False)
    hidden = output.last_hidden_state
    flat = hidden.reshape(-1, hidden.shape[-1])
    if head.scale != 1:
        flat = flat * head.scale
    target = input_ids[:, 1:].reshape(-1)
    return linear_cross_entropy(flat, unembedding.weight, unembedding.bias, target, head.softcap, budget, tied).view(hidden.shape[:2])


def plain_losses(model: nn.Module, input_ids: Int[Tensor, "b t1"]) -> Float[Tensor, "b t"]:
    """Per-token losses from the model's own logits."""
    logits = forward_logits(model, input_ids)[:, :-1]
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), input_ids[:, 1:].reshape(-1)).view(logits.shape[:2])


def functional_losses(model: nn.Module, leaves: Mapping[str, Tensor], input_ids: Int[Tensor, "b t1"]) -> Float[Tensor, "b t"]:
    """Per-token losses as a pure function of the parameters, for torch.func transforms. In nats."""
    kwargs = {"use_cache": False} if hasattr(model, "get_output_embeddings") else {}
    output = torch.func.functional_call(model, dict(leaves), (input_ids,), kwargs)
    logits = output if isinstance(output, Tensor) else output.logits
    return plain_cross_entropy(logits[..., :-1, :], input_ids[..., 1:])


def find_head(model: nn.Module, input_ids: Int[Tensor, "b t1"], budget: int) -> Head | None:
    """The model's head, if the fused path reproduces its own losses on `input_ids`; None where it does not.

    Tried rather than looked up: a head we do not know (a transform before the unembedding, prefix tokens) fails the comparison.
    """
    if _backbone(model) is None or _unembedding(model) is None:
        return None
    config = getattr(model, "config", None)
    scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0) * (getattr(config, "logit_scale", None) or 1.0)
    head = Head(float(scale), getattr(config, "final_logit_softcapping", None))
    dtype = next(model.parameters()).dtype
    tolerance = 1e-4 if dtype == torch.float32 else 32 * torch.finfo(dtype).eps

    @torch.no_grad()
    def agree(rows: Int[Tensor, "b t1"]) -> bool:
        want = plain_losses(model, rows)
        try:
            got = fused_losses(model, head, rows, budget)
        except (AttributeError, TypeError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            return False
        return torch.allclose(got, want, rtol=tolerance, atol=tolerance)

    return head if all(same for _, same in in_halves(input_ids, agree)) else None
