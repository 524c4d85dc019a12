"""A model whose matrices lie on several devices, by transformers' tensor-parallel plan for its architecture: a step outside model code.

Each rank has its rows of the first matrices of a block (queries, keys, values, gate, up: "colwise") and its columns of the last ones
(attention's output, down: "rowwise"), so that a block sums over the ranks twice and the residual stream is whole on each of them. Between
the two each rank has its own heads and neurons. `shares_of` says of a module on which side that is, for sites to be read and written whole.
"""

from __future__ import annotations

import os
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import UserError

PARTED: dict[str, Literal["input", "output"]] = {"colwise": "output", "rowwise": "input"}
"""Styles of a plan after which a rank has its part only of what a module is given or puts out: the last axis, cut as torch.chunk does."""
WHOLE = (
    "colwise_gather_output",
    "colwise_rep",
    "rowwise_rep",
    "rowwise_split_input",
    "embedding_rowwise",
    "embedding_colwise",
    "replicate",
)
"""Styles after which all that passes between modules is whole on every rank."""
_MARK = "interp_tui_parted"


def split(module: Any, count: int) -> None:
    """Leave of a loaded model's matrices only this rank's parts, in place. The ranks are torch.distributed's, and all must call it.

    Raises UserError for an architecture that transformers has no plan for, or one that cannot be divided by `count`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from transformers.distributed.tensor_parallel import apply_tensor_parallelism

    need_ranks()
    plan = plan_of(module, count)
    names = {name for name, _ in (*module.named_parameters(), *module.named_modules())}  # a tied weight has one name
    mesh = init_device_mesh(next(module.parameters()).device.type, (count,))
    apply_tensor_parallelism(module, mesh, {name: style for name, style in plan.items() if name in names})
    module.tie_weights()
    mark(module, plan)


def need_ranks() -> None:
    """Raise UserError where the ranks were not started, or where transformers was imported without what models on several devices need."""
    import torch.distributed as dist
    from transformers.distributed import tensor_parallel

    if not dist.is_initialized():
        raise UserError("the processes that are to hold the model together were not started", "a run starts them; else: torchrun")
    if not hasattr(tensor_parallel, "DTensor"):
        what = "transformers was imported in this process for models on one device"
        raise UserError(what, "load a split model in a process of its own, as runs do")


def loading(count: int, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told so that each rank reads only its parts, to its device.

    Nothing where that is not the kind of device that transformers would take: then the whole is read, to be split after.
    """
    accelerator = torch.accelerator.current_accelerator()
    if count < 2 or device.type != (accelerator.type if accelerator is not None else "cpu"):
        return {}
    need_ranks()
    from transformers.distributed.configuration_utils import DistributedConfig

    if device.index is not None:
        os.environ["LOCAL_RANK"] = str(device.index)  # by which it finds the device of this process
    return {"distributed_config": DistributedConfig(tp_size=count)}


def plan_of(module: Any, count: int) -> dict[str, str]:
    """The style of each parameter and module of the architecture's plan, by name. Raises UserError where sites could not be read whole."""
    kind = type(module).__name__
    if not getattr(module, "tp_plan", None) or not hasattr(module, "_expand_parallel_plan"):
        raise UserError(f"transformers has no tensor-parallel plan for {kind}", "leave model.parallel out")
    plan: dict[str, str] = module._expand_parallel_plan(dict(module.tp_plan))
    other = sorted(set(plan.values()) - {*PARTED, *WHOLE})
    if other:
        raise UserError(f"the plan of {kind} splits by {other[0]!r}, after which its sites are not known", "leave model.parallel out")
    text = module.config.get_text_config()
    heads = {"heads": text.num_attention_heads, "K/V heads": getattr(text, "num_key_value_heads", None) or text.num_attention_heads}
    for what, number in heads.items():
        if number % count:
            fits = [n for n in range(2, number + 1) if number % n == 0]
            hint = f"{' or '.join(map(str, fits))} would do" if fits else "leave model.parallel out"
            raise UserError(f"model.parallel.tensor = {count} does not divide the {number} {what} of {kind}", hint)
    return plan


def mark(module: nn.Module, plan: dict[str, str]) -> None:
    """Remember of each module on which side a rank has a part only."""
    for name, part in module.named_modules():
        if (side := PARTED.get(plan.get(name, ""))) is not None:
            setattr(part, _MARK, side)


def parted(module: nn.Module) -> Literal["input", "output"] | None:
    """On which side of a module a rank has its part only; None where all is whole."""
    return getattr(module, _MARK, None)


def is_split(module: nn.Module) -> bool:
    """Whether a rank has only a part of some matrix."""
    return any(parted(part) for part in module.modules())


def whole(weight: Tensor) -> Tensor:
    """A weight with all ranks' parts, on each: all must ask for it."""
    return cast("Tensor", weight.full_tensor()) if hasattr(weight, "full_tensor") else weight


def gathered(part: Tensor, dim: int) -> Tensor:
    """All ranks' parts of a tensor side by side along `dim`; gradients go back to this rank's part. A collective call."""
    return cast("Tensor", _Gather.apply(part, dim))  # type: ignore[no-untyped-call]


def own_part(value: Tensor, dim: int) -> Tensor:
    """This rank's part of a tensor that is whole on each, along `dim`; gradients come whole to each rank. A collective call."""
    return cast("Tensor", _Own.apply(value, dim))  # type: ignore[no-untyped-call]


def part_for(module: nn.Module, value: Tensor) -> Tensor:
    """What this rank gives a module of a value that is whole on each: its part of the last axis where the module takes parts."""
    return own_part(value, -1) if parted(module) == "input" else value


def _gathered(part: Tensor, dim: int) -> Tensor:
    import torch.distributed as dist

    mine = part.movedim(dim, 0).contiguous()
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return torch.cat(parts).movedim(0, dim)


def _mine(value: Tensor, dim: int) -> Tensor:
    import torch.distributed as dist

    size = value.shape[dim] // dist.get_world_size()
    return value.narrow(dim, dist.get_rank() * size, size)


@final
class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        return _gathered(part, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _mine(gradient, ctx.dim).contiguous(), None


@final
class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, dim: int) -> Tensor:
        ctx.dim = dim
        return _mine(value, dim).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _gathered(gradient, ctx.dim), None
