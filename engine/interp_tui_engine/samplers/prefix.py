"""What lies below the lowest restricted layer is computed once: the activations that enter it, for rows that come again and again.

A model copy whose lower blocks are replaced by stand-ins gets these activations injected and computes only the rest. This works for any
model whose blocks hand a single tensor from one to the next; whether it does is tried, not looked up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..models.families import Family, config_of, family_in

RowsFn = Callable[[nn.Module, Tensor], Tensor]
"""(model, rows) -> losses; run up to a block to see what enters it."""


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
        """The activations; asked for once a pass."""
        assert self.hidden is not None, "a model without its lower blocks was called without their output"
        return self.hidden


@dataclass(frozen=True)
class Cut:
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

    def entering(self, model: nn.Module, run: RowsFn, rows: Tensor) -> Float[Tensor, "b ..."] | None:
        """What enters the cut when `run(model, rows)` computes; None where that is not one tensor with a row each."""
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
        found = seen[0] if seen else None
        return found if isinstance(found, Tensor) and found.ndim >= 2 and found.shape[0] == rows.shape[0] else None


def cut_of(model: nn.Module, names: Iterable[str]) -> Cut | None:
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
    return Cut(family.blocks, min(depths)) if depths and min(depths) > 0 else None


def _get(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _depth(family: Family, name: str, count: int) -> int:
    """How many blocks a computation may leave out without leaving this parameter out."""
    found = re.match(re.escape(family.blocks) + r"\.(\d+)\.", name)
    if found:
        return int(found[1])
    after = (family.final_norm, *family.unembed)
    return count if any(path and name.startswith(f"{path}.") for path in after) else 0


@final
class Prefixes:
    """Activations entering cuts of one model, for named sets of rows, within a budget of bytes.

    Shared by restrictions of one run: what enters layer 3 is computed from what enters layer 2. One depth a set of rows is kept.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: dict[str, tuple[Cut, Tensor, Tensor]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, cut: Cut, rows: Tensor, compute: Callable[[Cut | None, Tensor | None], Tensor | None]) -> Tensor | None:
        """What enters the cut for these rows; None where it does not fit in the budget, or is not one tensor.

        compute(from, hidden): the same, going on from what enters a lower cut, or from the rows themselves.
        """
        with self._lock:
            held = self._held.get(name)
            known = held is not None and held[0].blocks == cut.blocks and held[0].depth <= cut.depth and torch.equal(held[1], rows)
            if held is not None and known and held[0] == cut:
                return held[2]
            found = compute(held[0], held[2]) if held is not None and known else compute(None, None)
            self._held.pop(name, None)
            if found is not None and self._bytes() + found.nbytes <= self._budget:
                self._held[name] = (cut, rows, found)
                return found
            return None

    def room_for(self, name: str, size: int) -> bool:
        """Whether `size` more bytes fit beside what other sets of rows hold."""
        return sum(hidden.nbytes for key, (_, _, hidden) in self._held.items() if key != name) + size <= self._budget

    def _bytes(self) -> int:
        return sum(hidden.nbytes for _, _, hidden in self._held.values())
