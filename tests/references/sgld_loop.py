"""The whole sampling loop, slow and plain: one chain after another, tensors by name, softmax over everything.

It shares the noise and the data order with the engine, since those are inputs of the algorithm, and nothing else.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.noise import NoiseSource
from interp_tui_engine.samplers.target.parameters import ParameterSpace, named_parameters
from interp_tui_engine.samplers.target.restricted import moving
from interp_tui_engine.samplers.target.weight_slice import WeightSlice


def token_losses(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """(b, t+1) ids to (b, t) losses by log_softmax."""
    out = model(ids)
    logits = out.logits if hasattr(out, "logits") else out
    return -torch.log_softmax(logits[:, :-1].float(), -1).gather(-1, ids[:, 1:, None])[..., 0]


def noise_by_name(
    space: ParameterSpace, slabs: dict[str, WeightSlice], shapes: dict[str, torch.Size], seed: int, chain: int, step: int, stream: str
) -> dict[str, torch.Tensor]:
    """The step's standard normal numbers, laid out as the engine lays out what moves; 0 where nothing moves."""
    source = NoiseSource(seed, chain, len(space.blocks), stream, torch.device("cpu"))
    flat = torch.zeros(space.size)
    for block in space.blocks:
        flat[block.start : block.stop] = source.fill(torch.empty(block.stop - block.start), step, block.index)
    found = {slot.name: flat[slot.start : slot.stop].view(slot.shape) for slot in space.slots}
    return {n: slabs[n].put(torch.zeros(shapes[n]), part) if n in slabs else part for n, part in found.items()}


def sample_reference(model, rows, observable, config, masks=None):
    """Returns init_loss (t,), micro (chain, step, batch, t), observed (chain, draw, n, t) and final weights per chain."""
    space, slabs = moving(model, masks)
    parameters, masks = named_parameters(model, masks)
    shapes = {n: p.shape for n, p in parameters.items()}
    order = BatchOrder(rows.shape[0], config)
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        init = torch.stack([token_losses(model, rows[b]).double().mean(0) for b in order.init_loss_batches()]).mean(0)
    micro, observed, finals = [], [], []
    for chain in range(config.num_chains):
        chain_model = copy.deepcopy(model)
        named = {n: p for n, p in chain_model.named_parameters() if masks is None or n in masks}
        anchor = {n: p.detach().clone() for n, p in named.items()}
        square = {n: torch.zeros_like(p) for n, p in named.items()}
        if config.init_noise:
            kick = noise_by_name(space, slabs, shapes, config.init_seed, chain, 0, "init")
            for n, p in named.items():
                m = 1.0 if masks is None or masks[n] is None else masks[n].float()
                p.data += config.init_noise * kick[n] * m
        micro.append([])
        observed.append([])
        for step in range(config.num_sgld_steps):
            chain_model.zero_grad()
            losses = [token_losses(chain_model, rows[b]) for b in order.step(step, chain)]
            (sum(x.mean() for x in losses) / len(losses)).backward()
            micro[-1].append(torch.cat(losses).detach())
            noise = noise_by_name(space, slabs, shapes, config.init_seed, chain, step, "step")
            for n, p in named.items():
                g_diag = torch.ones_like(p)
                if config.sampling_method == "rmsprop_sgld":
                    alpha, eps = config.sampling_method_kwargs.get("alpha", 0.99), config.sampling_method_kwargs.get("eps", 0.1)
                    square[n] = alpha * square[n] + (1 - alpha) * p.grad**2
                    g_diag = 1 / (square[n].sqrt() + eps)
                drift = config.n_beta * p.grad + config.localization * (p.data - anchor[n]) + config.llc_weight_decay * p.data
                kick = math.sqrt(config.lr) * g_diag.sqrt() * noise[n] * config.noise_level
                mask = 1.0 if masks is None or masks[n] is None else masks[n].float()
                p.data += mask * (-config.lr / 2 * g_diag * drift + kick)
                if config.bounding_box_size is not None:
                    p.data = torch.maximum(
                        torch.minimum(p.data, anchor[n] + config.bounding_box_size), anchor[n] - config.bounding_box_size
                    )
            if config.draw_at(step) is not None and observable is not None:
                with torch.no_grad():
                    observed[-1].append(token_losses(chain_model, observable))
        finals.append({n: p.detach().clone() for n, p in named.items()})
    micro = torch.stack([torch.stack(c) for c in micro])
    observed = torch.stack([torch.stack(c) for c in observed]) if observable is not None else None
    return init, micro, observed, finals
