"""What a preview of a restriction should say besides counts: that a head's keys and values are other heads' too. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .parameter_map import Heads, ParameterMap

Kept = Mapping[str, NDArray[np.bool_] | None]
"""Parameter name -> which positions along its divided axis are selected at all, or None for all of them."""


def remarks(parameter_map: ParameterMap, kept: Kept) -> list[str]:
    """A line for each key-value head that moves for the sake of some of the heads that use it. None where all or none of them move."""
    lines = []
    for layer in range(parameter_map.layers):
        heads = parameter_map.heads(layer)
        if heads is not None and heads.groups < heads.count:
            lines += [_line(layer, group, inside, beside) for group, inside, beside in _partly(heads, kept)]
    return lines


def _partly(heads: Heads, kept: Kept) -> Iterator[tuple[int, list[int], list[int]]]:
    """Groups whose key-value head moves with some of its heads, with those that move and those that do not."""
    moving: set[int] = set()
    for name, slices in heads.slices.items():
        if name in kept:
            selected = kept[name]
            moving |= set((slices.owners if selected is None else slices.owners[selected]).tolist())
    size = heads.count // heads.groups
    for group in range(heads.groups):
        members = range(group * size, (group + 1) * size)
        inside = [head for head in members if head in moving]
        if heads.count + group in moving and 0 < len(inside) < size:
            yield group, inside, [head for head in members if head not in moving]


def _line(layer: int, group: int, inside: list[int], beside: list[int]) -> str:
    own = " and ".join(f"'l{layer}h{head} own'" for head in inside)
    use, leave = ("use", "leave") if len(beside) > 1 else ("uses", "leave")
    verb = leave if len(inside) > 1 else f"{leave}s"
    return f"layer {layer}: key-value head {group} moves, which {_numbered(beside)} {use} too; {own} {verb} it out"


def _numbered(heads: list[int]) -> str:
    if len(heads) == 1:
        return f"head {heads[0]}"
    return f"heads {', '.join(map(str, heads[:-1]))} and {heads[-1]}"
