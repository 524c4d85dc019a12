"""From a restriction to the elements it selects: whole parameters, or slices of them along one axis. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

import numpy as np
from numpy.typing import NDArray

from interp_tui_engine.errors import UserError

from .parameter_map import Heads, ParameterMap
from .patterns import GRAMMAR, InLayer, Named, Pattern, Whole, parse


@dataclass(frozen=True)
class Rows:
    """Some positions along one axis of a parameter, and everything there."""

    axis: int
    keep: NDArray[np.bool_]


Chosen = Mapping[str, Rows | None]
"""Parameter name -> the slice that is selected, or None for all of it."""


@dataclass(frozen=True)
class Selection:
    """What a restriction selects of a model, and what should be said about it."""

    chosen: Chosen
    shapes: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Elements selected and elements in all, for each parameter selected."""
        counts = {}
        for name, rows in self.chosen.items():
            total = prod(self.shapes[name])
            counts[name] = (total if rows is None else total // rows.keep.size * int(rows.keep.sum()), total)
        return counts

    @property
    def selected(self) -> int:
        """Elements selected."""
        return sum(selected for selected, _ in self.counts().values())

    @property
    def total(self) -> int:
        """Elements of the model."""
        return sum(prod(shape) for shape in self.shapes.values())


def select(parameter_map: ParameterMap, restriction: str | Sequence[str]) -> Selection:
    """What a restriction, or the union of several, selects.

    Raises UserError for what the model does not have, with what it has.
    """
    texts = [restriction] if isinstance(restriction, str) else list(restriction)
    if not texts:
        raise UserError("the restriction is an empty list", f"name at least one of {GRAMMAR}")
    patterns = [parse(text) for text in texts]
    if Whole("full") in patterns and len(patterns) > 1:
        raise UserError("'full' selects everything, so it cannot be combined with other restrictions", "leave the others out, or 'full'")
    chosen: dict[str, Rows | None] = {}
    for pattern in patterns:
        for name, rows in _select_one(parameter_map, pattern).items():
            chosen[name] = rows if name not in chosen else _union(chosen[name], rows)
    ordered = {name: chosen[name] for name in parameter_map.shapes if name in chosen}
    return Selection(ordered, parameter_map.shapes, tuple(_notes(parameter_map, patterns)))


def _union(left: Rows | None, right: Rows | None) -> Rows | None:
    if left is None or right is None:
        return None
    assert left.axis == right.axis, "a parameter divides along one axis"
    return Rows(left.axis, left.keep | right.keep)


def _notes(parameter_map: ParameterMap, patterns: Iterable[Pattern]) -> Iterable[str]:
    for pattern in patterns:
        if isinstance(pattern, Whole) and pattern.name != "full":
            paths = parameter_map.family.unembed if pattern.name == "unembed" else parameter_map.family.embed
            for name, also in parameter_map.shared_names(parameter_map.below(*paths)).items():
                yield f"'{pattern}' selects {name}, which is shared with {', '.join(also)}: embedding and unembedding move together"


def _select_one(parameter_map: ParameterMap, pattern: Pattern) -> dict[str, Rows | None]:
    if isinstance(pattern, Named):
        return dict.fromkeys([_named(parameter_map, pattern.name)])
    if isinstance(pattern, Whole):
        return dict.fromkeys(_whole(parameter_map, pattern))
    if pattern.layer >= parameter_map.layers:
        raise UserError(
            f"restriction '{pattern}': there is no layer {pattern.layer}", f"the model has layers 0 to {parameter_map.layers - 1}"
        )
    if pattern.part in ("head", "own", "group", "kv"):
        return dict(_owned(parameter_map, pattern))
    of_part = {"all": parameter_map.layer, "attn": parameter_map.attention, "mlp": parameter_map.mlp, "mixer": parameter_map.mixer}
    names = of_part[pattern.part](pattern.layer)
    if not names:
        raise UserError(f"restriction '{pattern}': layer {pattern.layer} has no {pattern.part}", _parts_of(parameter_map, pattern.layer))
    return dict.fromkeys(names)


def _whole(parameter_map: ParameterMap, pattern: Whole) -> list[str]:
    if pattern.name == "full":
        return list(parameter_map.shapes)
    paths = parameter_map.family.embed if pattern.name == "embed" else parameter_map.family.unembed
    names = parameter_map.below(*paths)
    if not names:
        raise UserError(f"restriction '{pattern}': this {parameter_map.model_type} model has none of {', '.join(paths)}")
    return names


def _named(parameter_map: ParameterMap, name: str) -> str:
    names = {**dict.fromkeys(parameter_map.shapes), **parameter_map.aliases}
    if name in names:
        return parameter_map.aliases.get(name, name)
    near = get_close_matches(name, [*_all_patterns(parameter_map), *names], n=1) or get_close_matches(
        name.lower(), _all_patterns(parameter_map), n=1
    )
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"restriction {name!r} is neither a pattern nor a parameter of the model", f"{meant}it may be {GRAMMAR}")


def _all_patterns(parameter_map: ParameterMap) -> list[str]:
    patterns = ["full", "embed", "unembed"]
    for layer in range(parameter_map.layers):
        patterns += [
            f"l{layer}",
            *(f"l{layer} {part}" for part in ("attn", "mlp", "mixer") if getattr(parameter_map, _METHOD[part])(layer)),
        ]
        heads = parameter_map.heads(layer)
        patterns += [] if heads is None else [f"l{layer}h{i}" for i in range(heads.count)] + [f"l{layer}g{i}" for i in range(heads.groups)]
    return patterns


_METHOD = {"attn": "attention", "mlp": "mlp", "mixer": "mixer"}


def _parts_of(parameter_map: ParameterMap, layer: int) -> str:
    parts = [f"'l{layer} {part}'" for part, method in _METHOD.items() if getattr(parameter_map, method)(layer)]
    return f"it has {', '.join([repr(f'l{layer}'), *parts])}"


def _owned(parameter_map: ParameterMap, pattern: InLayer) -> dict[str, Rows]:
    heads = parameter_map.heads(pattern.layer)
    if heads is None:
        what = f"restriction '{pattern}': layer {pattern.layer} of this {parameter_map.model_type} model has no attention heads"
        raise UserError(what, _parts_of(parameter_map, pattern.layer))
    _in_range(heads, pattern)
    owners = list(heads.owners(pattern.part, pattern.index))
    idle = set() if pattern.part in ("own", "kv") else {f"{heads.path}.{name}" for name in heads.attention.idle}
    moving = {name: slices for name, slices in heads.slices.items() if name not in idle}
    kept = {name: Rows(slices.axis, np.isin(slices.owners, owners)) for name, slices in moving.items()}
    return {name: rows for name, rows in kept.items() if rows.keep.any()}


def _in_range(heads: Heads, pattern: InLayer) -> None:
    one_head = pattern.part in ("head", "own")
    count = heads.count if one_head else heads.groups
    if pattern.index >= count:
        what = "head" if one_head else "group of heads"
        have = f"numbered 0 to {count - 1}" if count > 1 else "numbered 0 alone"
        raise UserError(
            f"restriction '{pattern}': layer {pattern.layer} has no {what} {pattern.index}",
            f"its {what.replace('head', 'heads', 1) if what == 'head' else 'groups'} are {have}",
        )
