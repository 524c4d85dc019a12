"""Llama (Touvron et al. 2023) on the stacked weights of several chains: losses, and their gradient by hand in one pass.

Equal to the model itself in exact arithmetic, and tried against it before it is used. A step of four chains of four layers asks a GPU for
a third of the operations that `vmap` of the model does: attention's backward pass has no batching rule and is called chain by chain there,
norms and rotations come apart, and each parameter's gradient is copied.

Dimensions as in `stacked_operations`; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .parameters import ParameterSpace
from .row_losses import kernel_on, slopes_
from .row_losses import losses as row_losses
from .space import Slot
from .stacked_operations import (
    Attended,
    GatedValues,
    Matrices,
    Normed,
    Rotation,
    add_weight_gradient,
    attend,
    attend_back,
    project,
    project_back,
    rms_norm,
    rms_norm_back,
    rotation_of,
    swiglu,
    swiglu_back,
)


class Layer(NamedTuple):
    """One block's weights, or their gradients."""

    norm: Float[Tensor, "C 1 i"]
    qkv: Matrices
    out: Matrices
    mlp_norm: Float[Tensor, "C 1 i"]
    gate_up: Matrices
    down: Matrices


class StackedWeights(NamedTuple):
    """All weights of C chains as views into their flat vectors (C, size), or their gradients."""

    embed: Float[Tensor, "C V i"]
    layers: tuple[Layer, ...]
    norm: Float[Tensor, "C 1 i"]
    unembed: Matrices


class _Kept(NamedTuple):
    """What one block's backward pass needs of its forward pass."""

    normed: Normed
    attended: Attended
    mlp_normed: Normed
    gated: GatedValues


@final
class StackedLlama:
    """Losses and gradients of a Llama whose every weight is sampled.

    budget: bytes that one chunk of logits may take.
    """

    def __init__(self, model: Any, space: ParameterSpace, budget: int) -> None:
        config = model.config
        self.heads, self.kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self.eps, self.depth, self.tied = float(config.rms_norm_eps), int(config.num_hidden_layers), bool(config.tie_word_embeddings)
        self._slots = {slot.name: slot for slot in space.slots}
        self._rotary, self._budget, self._dtype = model.model.rotary_emb, budget, space.dtype
        self._rotations: dict[int, Rotation] = {}

    def weights(self, flat: Float[Tensor, "C size"]) -> StackedWeights:
        """The weights inside stacked flat vectors."""
        layers = tuple(self._layer(flat, f"model.layers.{index}.") for index in range(self.depth))
        embed = self._view(flat, "model.embed_tokens.weight")
        unembed = embed if self.tied else self._view(flat, "lm_head.weight")
        return StackedWeights(embed, layers, self._norm(flat, "model.norm.weight"), (unembed,))

    def _layer(self, flat: Tensor, name: str) -> Layer:
        return Layer(
            self._norm(flat, f"{name}input_layernorm.weight"),
            self._joined(flat, [f"{name}self_attn.{part}_proj.weight" for part in "qkv"]),
            self._joined(flat, [f"{name}self_attn.o_proj.weight"]),
            self._norm(flat, f"{name}post_attention_layernorm.weight"),
            self._joined(flat, [f"{name}mlp.{part}_proj.weight" for part in ("gate", "up")]),
            self._joined(flat, [f"{name}mlp.down_proj.weight"]),
        )

    def _view(self, flat: Tensor, name: str) -> Tensor:
        slot = self._slots[name]
        return flat[:, slot.start : slot.stop].view(-1, *slot.shape)

    def _norm(self, flat: Tensor, name: str) -> Tensor:
        return self._view(flat, name)[:, None]

    def _joined(self, flat: Tensor, names: list[str]) -> Matrices:
        """Matrices of one input: as one where they lie side by side."""
        slots: list[Slot] = [self._slots[name] for name in names]
        if any(left.stop != right.start for left, right in pairwise(slots)):
            return tuple(self._view(flat, name) for name in names)
        return (flat[:, slots[0].start : slots[-1].stop].view(flat.shape[0], -1, slots[0].shape[1]),)

    @torch.no_grad()
    def losses(self, flat: Float[Tensor, "C size"], ids: Int[Tensor, "*chains b t1"]) -> Float[Tensor, "C b t"]:
        """Per-token losses, in nats. ids: of every chain (C, b, t+1), or the same of all (b, t+1)."""
        weights = self.weights(flat.to(self._dtype))
        hidden = self._embedded(weights, ids)
        rotation = self._rotation(ids.shape[-1] - 1)
        for layer in weights.layers:
            hidden, _ = self._forward(layer, hidden, rotation, keep=False)
        hidden = rms_norm(hidden, weights.norm, self.eps).out
        losses = [self._losses(part, weights, target) for part, target in self._chunks(hidden, ids)]
        return _joined_losses(losses).view(flat.shape[0], -1, ids.shape[-1] - 1)

    @torch.no_grad()
    def gradient(
        self, flat: Float[Tensor, "C size"], into: Float[Tensor, "C size"], ids: Int[Tensor, "*chains b t1"], total: int, keep: int
    ) -> Float[Tensor, "C b t"]:
        """Per-token losses, and the gradient of their sum over `total`, added to `into` (keep = 1) or in its place (0).

        What lies between parameters in `into` is left as it is.
        """
        low = self._dtype != torch.float32
        weights = self.weights(flat.to(self._dtype))
        made = torch.zeros_like(into, dtype=self._dtype) if low else into
        gradients, own_keep = self.weights(made), 0 if low else keep
        losses = self._gradient(weights, gradients, ids, total, own_keep)
        if low:
            into.mul_(keep).add_(made)
        return losses

    def _gradient(self, weights: StackedWeights, into: StackedWeights, ids: Tensor, total: int, keep: int) -> Tensor:
        hidden, rotation, kept = self._embedded(weights, ids), self._rotation(ids.shape[-1] - 1), []
        for layer in weights.layers:
            hidden, needed = self._forward(layer, hidden, rotation, keep=True)
            kept.append(needed)
        normed = rms_norm(hidden, weights.norm, self.eps)
        losses, parts = [], []
        for index, (part, target) in enumerate(self._chunks(normed.out, ids)):
            loss, slope = self._losses_and_slopes(part, weights, target)
            losses.append(loss)
            slope = slope.to(part.dtype)
            into.unembed[0].baddbmm_(slope.mT, part, beta=keep if index == 0 else 1, alpha=1 / total)
            parts.append(torch.baddbmm(part, slope, weights.unembed[0], beta=0, alpha=1 / total))
        g = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        g = rms_norm_back(g, normed, weights.norm, into.norm, keep)
        for layer, gradients, needed in zip(weights.layers[::-1], into.layers[::-1], kept[::-1], strict=True):
            g = self._backward(layer, gradients, needed, g, rotation, keep)
        if not self.tied and not keep:
            into.embed.zero_()
        into.embed.scatter_add_(1, self._rows(weights, ids), g)
        return _joined_losses(losses).view(g.shape[0], -1, ids.shape[-1] - 1)

    def _rows(self, weights: StackedWeights, ids: Tensor) -> Int[Tensor, "C n i"]:
        """Which rows of the embedding the tokens are, one index an element."""
        chains, _, width = weights.embed.shape
        tokens = ids[..., :-1].reshape(-1 if ids.dim() == 3 else 1, ids[..., :-1].shape[-2] * (ids.shape[-1] - 1))
        return tokens[:, :, None].expand(chains, -1, width)

    def _embedded(self, weights: StackedWeights, ids: Tensor) -> Float[Tensor, "C n i"]:
        return weights.embed.gather(1, self._rows(weights, ids))

    def _rotation(self, positions: int) -> Rotation:
        if positions not in self._rotations:
            device = self._rotary.inv_freq.device
            cos, sin = self._rotary(torch.zeros((), device=device, dtype=self._dtype), torch.arange(positions, device=device)[None])
            self._rotations[positions] = rotation_of(cos[0], sin[0])
        return self._rotations[positions]

    def _forward(self, layer: Layer, hidden: Tensor, rotation: Rotation, keep: bool) -> tuple[Tensor, _Kept]:
        normed = rms_norm(hidden, layer.norm, self.eps)
        attended = attend(project(normed.out, layer.qkv), self.heads, self.kv_heads, rotation, keep)
        hidden = torch.baddbmm(hidden, attended.out, layer.out[0].mT)
        mlp_normed = rms_norm(hidden, layer.mlp_norm, self.eps)
        gated = swiglu(project(mlp_normed.out, layer.gate_up))
        return torch.baddbmm(hidden, gated.out, layer.down[0].mT), _Kept(normed, attended, mlp_normed, gated)

    def _backward(self, layer: Layer, into: Layer, kept: _Kept, g: Tensor, rotation: Rotation, keep: int) -> Tensor:
        """Gradient of what entered the block, from that of what left it."""
        add_weight_gradient(into.down, g, kept.gated.out, keep)
        inner = swiglu_back(project_back(g, layer.down), kept.gated)
        add_weight_gradient(into.gate_up, inner, kept.mlp_normed.out, keep)
        g = g + rms_norm_back(project_back(inner, layer.gate_up), kept.mlp_normed, layer.mlp_norm, into.mlp_norm, keep)
        add_weight_gradient(into.out, g, kept.attended.out, keep)
        inner = attend_back(project_back(g, layer.out), kept.attended, rotation)
        add_weight_gradient(into.qkv, inner, kept.normed.out, keep)
        return g + rms_norm_back(project_back(inner, layer.qkv), kept.normed, layer.norm, into.norm, keep)

    def _chunks(self, hidden: Float[Tensor, "C n i"], ids: Tensor) -> Iterator[tuple[Tensor, Int[Tensor, "C n 1"]]]:
        """Hidden states and the tokens that follow them, as many as leave their logits within the budget."""
        chains, tokens, _ = hidden.shape
        target = ids[..., 1:].reshape(-1 if ids.dim() == 3 else 1, tokens).expand(chains, -1)[:, :, None]
        rows = max(1, self._budget // (4 * chains * self._slots["model.embed_tokens.weight"].shape[0]))
        for start in range(0, tokens, rows):
            yield hidden[:, start : start + rows], target[:, start : start + rows]

    def _losses_and_slopes(
        self, hidden: Tensor, weights: StackedWeights, target: Tensor
    ) -> tuple[Float[Tensor, "C n"], Float[Tensor, "C n V"]]:
        """Losses of some tokens, and their derivatives by the logits."""
        if kernel_on(hidden.device) is None:
            losses, log_probs = self._log_probs(hidden, weights, target)
            return losses, _slope_(log_probs, target)
        logits = torch.bmm(hidden, weights.unembed[0].mT).float()
        losses = torch.empty(logits.shape[:2], device=logits.device)
        slopes_(logits.view(-1, logits.shape[-1]), target.reshape(-1), losses.view(-1))
        return losses, logits

    def _losses(self, hidden: Tensor, weights: StackedWeights, target: Tensor) -> Float[Tensor, "C n"]:
        """Losses of some tokens, nothing more."""
        if kernel_on(hidden.device) is None:
            return self._log_probs(hidden, weights, target)[0]
        logits = torch.bmm(hidden, weights.unembed[0].mT)
        losses = torch.empty(logits.shape[:2], device=logits.device)
        row_losses(logits.view(-1, logits.shape[-1]), target.reshape(-1), losses.view(-1))
        return losses

    def _log_probs(self, hidden: Tensor, weights: StackedWeights, target: Tensor) -> tuple[Float[Tensor, "C n"], Float[Tensor, "C n V"]]:
        logits = torch.bmm(hidden, weights.unembed[0].mT).float()
        if logits.device.type == "cpu":
            # its log_softmax adds up a row one after another: over 49,152 words that is 1e-5 off, and so is the share of every one of them
            log_probs = logits.sub_(logits.logsumexp(-1, keepdim=True))
        else:
            log_probs = torch.log_softmax(logits, dim=-1)
        return log_probs.gather(-1, target)[..., 0].neg_(), log_probs


def _slope_(log_probs: Float[Tensor, "C n V"], target: Int[Tensor, "C n 1"]) -> Float[Tensor, "C n V"]:
    """Derivative of a token's loss by its logits, p − onehot, in place of the log-probabilities."""
    slope = log_probs.exp_()
    return slope.scatter_add_(-1, target, slope.new_full((1, 1, 1), -1.0).expand(target.shape))


def _joined_losses(losses: list[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.cat(losses, dim=1)


def stacked_llama(model: nn.Module, space: ParameterSpace, budget: int) -> StackedLlama | None:
    """The model's stacked form, where it is a Llama all of whose weights are sampled; None where it is anything else."""
    config: Any = getattr(model, "config", None)
    plain = (
        type(model).__module__ == "transformers.models.llama.modeling_llama"
        and type(model).__name__ == "LlamaForCausalLM"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
    )
    if not plain or {slot.name for slot in space.slots} != {name for name, _ in model.named_parameters()}:
        return None
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    if any(slot.shape != shapes[slot.name] for slot in space.slots):
        return None
    return StackedLlama(model, space, budget)
