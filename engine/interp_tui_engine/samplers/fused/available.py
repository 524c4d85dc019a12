"""Whether a step's noise and update can be fused here, and why not: tried, not looked up."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ..kernel import kernel_of, vectors_of
from ..philox import PhiloxSource, StackedPhilox
from ..settings import SamplerConfig
from ..target.parameters import ParameterSpace
from ..target.space import FlatSpace
from .plan import METHODS
from .update import FusedUpdate

_TRIAL = {"lr": 1e-3, "n_beta": 3.0, "localization": 5.0, "bounding_box_size": 0.05}


def why_not(space: FlatSpace, config: SamplerConfig, noise: str) -> str:
    """Why updates of these weights are made operation by operation; empty where the kernel makes them."""
    if space.device.type != "cuda":
        return f"there is no kernel for {space.device.type}"
    if noise != "philox":
        return f"the kernel makes Philox's noise, and noise = {noise!r}"
    if space.part:
        return "the model lies on several devices, in parts that begin anywhere"
    if config.sampling_method not in METHODS:
        return f"there is no kernel for {config.sampling_method}; there is for {', '.join(METHODS)}"
    if config.save_metrics:
        return "save_metrics takes each update apart"
    return trial(space.device, config.sampling_method)


@cache
def trial(device: torch.device, method: str) -> str:
    """What is wrong with the kernel's update of a few weights on this device; empty where it is what operations give."""
    try:
        by_kernel, by_operations = _two_steps(device, method, fused=True), _two_steps(device, method, fused=False)
    except Exception as error:  # no triton, no compiler for it, an architecture it does not know: operations do as well
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    apart = float((by_kernel - by_operations).abs().max())
    return "" if apart < 1e-5 else f"its numbers are off by {apart:.2g}"


@torch.no_grad()
def _two_steps(device: torch.device, method: str, *, fused: bool) -> Tensor:
    """Two chains of 5,001 weights after two steps, and all that the sampler holds of them."""
    draw = torch.Generator().manual_seed(0)
    space = ParameterSpace({"w": torch.randn(5001, generator=draw).to(device)}, None)
    config, kernel = SamplerConfig.model_validate(_TRIAL | {"sampling_method": method}), kernel_of(method)
    flat = space.anchor().repeat(2, 1)
    gradient = torch.randn(flat.shape, generator=draw).to(device)
    noise = StackedPhilox([PhiloxSource(0, chain, space.starts, "step") for chain in range(2)], device)
    state, step = kernel.init(flat, config), torch.full((1,), 7, device=device)
    vectors = {name: getattr(state, name) for name in vectors_of(method)}
    update = FusedUpdate(space, config, flat, vectors, noise, gradient=gradient) if fused else None
    for _ in range(2):
        if update is not None:
            update.of_stack(step)
        else:
            scratch = torch.empty_like(flat)
            noise.fill_by_operations(scratch, step)
            kernel.step(kernel.State(flat, **vectors), gradient, scratch, space.anchor(), space.mask(), config)
            if (couple := getattr(kernel, "couple", None)) is not None:
                couple(kernel.State(flat, **vectors), space.numel, config)
        step += 1
    return torch.cat([flat, *vectors.values()])[:, : space.numel]
