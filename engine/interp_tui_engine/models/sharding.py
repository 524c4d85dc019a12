"""A model cut up over several devices by PyTorch's FSDP2: an explicit step outside model code.

Each decoder block is a unit: its parameters are brought together when it computes and dropped after, and its gradients are summed over
the ranks and cut again. What lies outside the blocks (embedding, last norm, unembedding) is one more unit.
"""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from ..errors import UserError


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Leave of every parameter only this rank's rows, in place. Raises UserError for a model without a list of blocks."""
    lists = [child for child in module.modules() if isinstance(child, nn.ModuleList) and len(child) > 0]
    if not lists:
        raise UserError("this model has no list of blocks to cut it up by", "use compute.gpus_per_worker = 1")
    blocks = max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))
    # left to itself FSDP2 keeps the outermost unit together from one forward pass to the next, where there is no backward pass between:
    # a look at the loss at w0 would leave its embedding to the chain's next step
    for unit in (*blocks, module):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
