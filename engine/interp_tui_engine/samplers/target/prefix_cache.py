"""What lies below the lowest restricted layer is computed once: the activations that enter it, for rows that come again and again.

A model copy whose lower blocks are replaced by stand-ins gets these activations injected and computes only the rest. This works for any
model whose blocks hand a single tensor from one to the next; whether it does is tried, not looked up.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...errors import UserError
from ...models.families import Family, config_of, family_in

RowsFn = Callable[[nn.Module, Tensor], Tensor]
"""(model, rows) -> losses; run up to a block to see what enters it."""

Compute = Callable[["PrefixCut | None", Tensor | None], Tensor]
"""(lower cut, what enters it) -> what enters the cut that is asked for; (None, None): from the rows themselves."""


class _Reached(Exception):
    """Thrown by a probe: what was looked for has been seen."""


class _StandIn(nn.Module):
    """In place of a block: hands on its input, or what the first of them was given. Other attributes are those of the block."""

    def __init__(self, block: nn.Module, injected: Injected | None) -> None:
        super().__init__()
        object.__setattr__(self, "_block", block)
        self._injected = injected

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_block"), name)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden if self._injected is None else self._injected.take()


@final
class Injected:
    """The activations that a model copy is to go on from. One copy computes in one thread at a time."""

    def __init__(self) -> None:
        self.hidden: Tensor | None = None

    def take(self) -> Tensor:
        """The activations; asked for once a pass. Shape (b, t, width)."""
        assert self.hidden is not None, "a model without its lower blocks was called without their output"
        return self.hidden


@dataclass(frozen=True)
class PrefixCut:
    """Where a model is cut: at the entry of block `depth` of the list at `blocks`; depth counts up to the number of blocks."""

    blocks: str
    depth: int

    def shorten(self, model: nn.Module) -> Injected:
        """Replace the blocks below the cut in a model that is this caller's own."""
        injected = Injected()
        blocks = model.get_submodule(self.blocks)
        assert isinstance(blocks, nn.ModuleList)
        for index in range(self.depth):
            blocks[index] = _StandIn(blocks[index], injected if index == 0 else None)
        return injected

    def entering(self, model: nn.Module, run: RowsFn, rows: Tensor) -> Float[Tensor, ...] | None:
        """What enters the cut when `run(model, rows)` computes; None where that is not one tensor."""
        below = model.get_submodule(f"{self.blocks}.{self.depth - 1}")
        seen: list[Any] = []

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.append(output)
            raise _Reached

        handle = below.register_forward_hook(stop)
        try:
            with torch.no_grad():
                run(model, rows)
        except _Reached:
            pass
        finally:
            handle.remove()
        entered = seen[0] if seen else None
        return entered if isinstance(entered, Tensor) else None


def cut_of(model: nn.Module, names: Iterable[str]) -> PrefixCut | None:
    """The highest cut above which all of these parameters lie; None where that saves nothing or the architecture is not known."""
    try:
        family = family_in(config_of(model), (name for name, _ in model.named_parameters()))
    except UserError:
        return None
    if family.beside or not isinstance(blocks := _get(model, family.blocks), nn.ModuleList):
        return None
    every = dict(model.named_parameters(remove_duplicate=False))
    wanted = {id(every[name]) for name in names}
    depths = [_depth(family, name, len(blocks)) for name, p in every.items() if id(p) in wanted]
    return PrefixCut(family.blocks, min(depths)) if depths and min(depths) > 0 else None


def _get(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _depth(family: Family, name: str, count: int) -> int:
    """How many blocks a computation may leave out without leaving this parameter out."""
    match = re.match(re.escape(family.blocks) + r"\.(\d+)\.", name)
    if match:
        return int(match[1])
    after = (family.final_norm, *family.unembed)
    return count if any(path and name.startswith(f"{path}.") for path in after) else 0


@final
class PrefixCache:
    """Activations entering cuts of one model, by the batch of rows they are of, kept within a budget of bytes.

    Shared by the chains and by the restrictions of a run: what enters layer 3 is computed from what enters layer 2. A batch's activations
    are the same bit for bit whether they were kept, computed anew or gone on with, so what is kept never shows in a chain's numbers.
    """

    def __init__(self, budget: int) -> None:
        self._budget, self._bytes = budget, 0
        self._held: dict[bytes, tuple[PrefixCut, Tensor]] = {}
        self._coming: dict[tuple[bytes, PrefixCut], Future[Tensor]] = {}
        self._lock = threading.Lock()

    def get(self, cut: PrefixCut, rows: Int[Tensor, "b t1"], compute: Compute) -> Float[Tensor, ...]:
        """What enters the cut for this batch. Chains that ask for the same at the same time wait for the first of them.

        rows: best on the CPU; those of a device are copied from it to be told apart.
        """
        key = hashlib.blake2b(rows.cpu().contiguous().numpy().data, digest_size=16).digest() + bytes(str(tuple(rows.shape)), "ascii")
        with self._lock:
            held = self._held.get(key)
            if held is not None and held[0] == cut:
                return held[1]
            others = self._coming.get((key, cut))
            mine = self._coming.setdefault((key, cut), Future())
        if others is not None:
            return others.result()
        try:
            prefix = (
                compute(*held) if held is not None and held[0].blocks == cut.blocks and held[0].depth < cut.depth else compute(None, None)
            )
        except BaseException as error:
            with self._lock:
                del self._coming[key, cut]
            mine.set_exception(error)
            raise
        with self._lock:
            self._keep(key, cut, prefix)
            del self._coming[key, cut]
        mine.set_result(prefix)
        return prefix

    def _keep(self, key: bytes, cut: PrefixCut, prefix: Tensor) -> None:
        before = self._held.pop(key, None)
        self._bytes -= 0 if before is None else before[1].nbytes
        if self._bytes + prefix.nbytes <= self._budget:
            self._held[key] = (cut, prefix)
            self._bytes += prefix.nbytes
