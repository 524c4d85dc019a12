"""A model cut up over several devices by PyTorch's FSDP2: an explicit step outside model code.

Each decoder block is a unit: its parameters are brought together when it computes and dropped after, and its gradients are summed over
the ranks and cut again. What lies outside the blocks (embedding, last norm, unembedding) is one more unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from ..errors import UserError


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Leave of every parameter only this rank's rows, in place. Raises UserError for a model without a list of blocks.

    The values are rank 0's: the others may have nothing but shapes (`models.without_weights`).
    """
    lists = [child for child in module.modules() if isinstance(child, nn.ModuleList) and len(child) > 0]
    if not lists:
        raise UserError("this model has no list of blocks to cut it up by", "use compute.gpus_per_worker = 1")
    blocks = max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))
    # left to itself FSDP2 keeps the outermost unit together from one forward pass to the next, where there is no backward pass between:
    # a look at the loss at w0 would leave its embedding to the chain's next step
    first = mesh.get_local_rank() == 0
    whole = {name: parameter.detach() for name, parameter in module.named_parameters()} if first else {}
    for unit in (*blocks, module):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    for name, parameter in module.named_parameters():
        assert isinstance(parameter, DTensor), "each lies in a unit"
        _deal_out(whole.pop(name, None), parameter, mesh)


@torch.no_grad()
def _deal_out(whole: Tensor | None, parameter: DTensor, mesh: DeviceMesh) -> None:
    """Give each rank its rows of a parameter, of which rank 0 has the whole."""
    local = parameter.to_local()
    sent = torch.empty(parameter.shape, dtype=parameter.dtype, device=local.device) if whole is None else whole.to(local.device)
    dist.broadcast(sent, 0)
    share = -(-parameter.shape[0] // mesh.size())  # as torch.chunk cuts
    local.copy_(sent[mesh.get_local_rank() * share :][: local.shape[0]])


@final
class ShardedRows:
    """This rank's rows of a module's parameters, by name: where FSDP2 reads them from, so that a module can be told to compute with others.

    FSDP2 gathers a layer from a flat tensor of its own. Where that holds nothing but the rows, in their own dtype, it is exchanged for the
    one given: no copy of a chain's weights is kept for the module. Else, and where another version of PyTorch keeps its books otherwise,
    the rows are copied into it.
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, DTensor]) -> None:
        self.parameters = parameters
        units = [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
        groups = [getattr(unit._get_fsdp_state(), "_fsdp_param_group", None) for unit in units]
        books = {id(book.sharded_param): book for group in groups for book in getattr(group, "fsdp_params", ())}
        self._books = {name: books.get(id(parameter)) for name, parameter in parameters.items()}

    def lent(self, name: str) -> bool:
        """Whether the module computes with the very tensors it is given for this parameter, where they are float32."""
        book, local = self._books[name], self.parameters[name].to_local()
        own: Any = getattr(book, "_sharded_param_data", None)
        return type(own) is Tensor and own.dtype == torch.float32 and own.numel() == local.numel() > 0

    @torch.no_grad()
    def compute_with(self, rows: Mapping[str, Tensor]) -> None:
        """Have the module compute with these rows from now on, as they are whenever it does."""
        for name, values in rows.items():
            parameter = self.parameters[name]
            if self.lent(name) and values.dtype == torch.float32 and values.is_contiguous():
                given, book = values.detach(), self._books[name]
                assert book is not None, "lent() found one"
                book._sharded_param_data = given.view(-1)
                parameter._local_tensor = given
            else:
                parameter.to_local().copy_(values)
