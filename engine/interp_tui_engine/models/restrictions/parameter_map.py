"""A model's parameters by the part they belong to: from its configuration and the shapes of its parameters alone. Torch-free.

Which slice of an attention weight belongs to which head follows from the weights' own shapes: with H heads from the configuration, the
output projection takes H·d_v numbers in, so d_v is its width over H, and K = (rows of v) / d_v. Nothing assumes d = width / H.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from interp_tui_engine.errors import UserError

from ..families import Attention, Family, family_in, model_type_of, text_config_of

Shapes = Mapping[str, tuple[int, ...]]
_NORM = re.compile(r"norm|^ln(_|\d|$)", re.IGNORECASE)
_SHARDS = 4


@dataclass(frozen=True)
class Slices:
    """How one parameter divides among owners along an axis: 0 … H-1 are heads, H … H+K-1 the key-value heads of groups."""

    axis: int
    owners: NDArray[np.int64]


@dataclass(frozen=True)
class Heads:
    """A block's attention: its module, its numbers of query and key-value heads, and who owns which slice of its parameters."""

    attention: Attention
    path: str
    count: int
    groups: int
    slices: Mapping[str, Slices]

    def owners(self, unit: str, index: int) -> frozenset[int]:
        """The owners that a head, what it alone owns, a group, or a group's key-value head stands for.

        With a key per head all four are the head.
        """
        if self.groups == self.count or unit == "own":
            return frozenset({index})
        size = self.count // self.groups
        if unit == "head":
            return frozenset({index, self.count + index // size})
        shared = {self.count + index}
        return frozenset(shared if unit == "kv" else shared | set(range(index * size, (index + 1) * size)))


@final
class ParameterMap:
    """Where a model's parameters belong. `aliases` maps the further names of shared parameters to the one in `shapes`."""

    def __init__(self, config: Any, shapes: Shapes, aliases: Mapping[str, str], family: Family | None = None) -> None:
        self.family = family_in(config, shapes) if family is None else family
        self.model_type = model_type_of(config)
        self.shapes, self.aliases, self._config = dict(shapes), dict(aliases), text_config_of(config)
        index = re.compile(re.escape(self.family.blocks) + r"\.(\d+)\.")
        self.layers = 1 + max((int(match[1]) for name in self.shapes if (match := index.match(name))), default=-1)
        self.heads = cache(self._heads)

    def below(self, *paths: str) -> list[str]:
        """The parameters in these modules (or of these names), in the model's order, shared ones by the name in `shapes`."""
        wanted = [name for name in (*self.shapes, *self.aliases) if any(name == path or name.startswith(f"{path}.") for path in paths)]
        resolved = {self.aliases.get(name, name) for name in wanted}
        return [name for name in self.shapes if name in resolved]

    def layer(self, index: int) -> list[str]:
        """Every parameter of a layer."""
        return self.below(f"{self.family.blocks}.{index}", *(path.format(layer=index) for path in self.family.beside))

    def mlp(self, index: int) -> list[str]:
        """The feed-forward part, without norms."""
        return self._without_norms([self._path(path, index) for path in self.family.mlp])

    def mixer(self, index: int) -> list[str]:
        """What mixes positions without softmax heads, without norms."""
        heads = self.heads(index)
        paths = [self._path(path, index) for path in self.family.mixers]
        return self._without_norms([path for path in paths if heads is None or path != heads.path])

    def attention(self, index: int) -> list[str]:
        """The attention module, without norms; empty where a layer has none."""
        heads = self.heads(index)
        return [] if heads is None else self._without_norms([heads.path])

    def shared_names(self, names: list[str]) -> dict[str, list[str]]:
        """Of these parameters, those that have further names, with them."""
        return {name: also for name in names if (also := [alias for alias, target in self.aliases.items() if target == name])}

    def _path(self, path: str, index: int) -> str:
        return path.format(layer=index) if "{layer}" in path else f"{self.family.blocks}.{index}.{path}"

    def _without_norms(self, paths: list[str]) -> list[str]:
        kept = []
        for path in paths:
            for name in self.below(path):
                if not any(_NORM.search(piece) for piece in name.removeprefix(path).split(".")):
                    kept.append(name)
        return kept

    def _heads(self, index: int) -> Heads | None:
        for attention in self.family.attention:
            path = self._path(attention.path, index)
            needed = [f"{path}.{part}" for part in (attention.o, attention.qkv or attention.q)]
            if all(self.below(name) for name in needed):
                return self._divide(attention, path, index)
        return None

    def _count(self, attention: Attention, index: int) -> int:
        for name in attention.heads:
            value = getattr(self._config, name, None)
            if isinstance(value, (list, tuple)):
                value = value[index]
            if isinstance(value, int) and value > 0:
                return value
        raise UserError(f"the configuration of this {self.model_type} model does not say how many heads it has")

    def _weight(self, path: str) -> tuple[str, bool] | None:
        """The name of a module's weight, or of the parameter itself (then True)."""
        if path in self.shapes:
            return path, True
        return (f"{path}.weight", False) if f"{path}.weight" in self.shapes else None

    def _divide(self, attention: Attention, path: str, index: int) -> Heads:
        count = self._count(attention, index)
        along_in, along_out = (0, 1) if attention.transposed else (1, 0)
        output = self._weight(f"{path}.{attention.o}")
        assert output is not None
        axis = 0 if output[1] else along_in
        width = self.shapes[output[0]][axis]
        if width % count:
            raise UserError(f"{output[0]} takes {width} numbers in, which do not divide among {count} heads")
        heads = np.arange(count)
        slices = {output[0]: Slices(axis, np.repeat(heads, width // count))}
        rows = self._rows(attention, path, along_out)
        groups = _groups(attention, count, width // count, rows, stacked=output[1])
        key_heads = heads if groups == count else count + np.arange(groups)
        for part, size in rows.items():
            owners = _fused(attention, heads, key_heads, size) if part == attention.qkv else None
            if owners is None:
                owner = key_heads if part in (attention.k, attention.v, *attention.per_group) else heads
                if size % owner.size:
                    continue  # belongs to no head in particular
                owners = np.repeat(owner, size // owner.size)
            for name, where in self._along(f"{path}.{part}", along_out):
                slices[name] = Slices(where, owners)
        return Heads(attention, path, count, groups, slices)

    def _rows(self, attention: Attention, path: str, along_out: int) -> dict[str, int]:
        parts = (attention.qkv, attention.q, attention.k, attention.v, *attention.per_head, *attention.per_group)
        rows = {}
        for part in filter(None, parts):
            if (weight := self._weight(f"{path}.{part}")) is not None:
                rows[part] = self.shapes[weight[0]][0 if weight[1] else along_out]
        return rows

    def _along(self, path: str, along_out: int) -> list[tuple[str, int]]:
        """A module's parameters with the axis that counts its outputs: that of the weight, and the only one of the bias."""
        if path in self.shapes:
            return [(path, 0)]
        return [(name, axis) for name, axis in ((f"{path}.weight", along_out), (f"{path}.bias", 0)) if name in self.shapes]


def _groups(attention: Attention, count: int, width: int, rows: Mapping[str, int], *, stacked: bool) -> int:
    """K, from how many rows the weights have; `width` is d_v, `stacked` means that first axes count heads themselves."""
    if stacked:
        return rows.get(attention.k, count)
    if attention.qkv:
        return count if attention.layout in ("interleaved", "sharded") else (rows[attention.qkv] // width - count) // 2
    if attention.v in rows:
        return rows[attention.v] // width
    return rows[attention.k] * count // rows[attention.q] if attention.k in rows else count


def _fused(attention: Attention, heads: NDArray[np.int64], key_heads: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Who owns each row of a fused projection."""
    count, groups = heads.size, key_heads.size
    if attention.layout == "interleaved":
        return np.repeat(heads, rows // count)
    width = rows // (count + 2 * groups)
    if attention.layout == "concatenated":
        order = np.concatenate([heads, key_heads, key_heads])
    elif attention.layout == "grouped":
        order = np.concatenate([np.append(own, [key, key]) for own, key in zip(heads.reshape(groups, -1), key_heads, strict=True)])
    else:
        order = np.concatenate([np.tile(own, 3) for own in heads.reshape(_SHARDS, -1)])
    return np.repeat(order, width)
