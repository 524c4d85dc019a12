"""The language of weight restrictions: `full`, `l0`, `l0 attn`, `l0h1`, `l0g0`, `embed`, …, parsed at the edge into values. Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["all", "attn", "mlp", "mixer", "head", "group", "kv"]

_LAYER = re.compile(r"l(\d+)(?:\s*(?P<unit>h|g|kv)(?P<index>\d+)|\s+(?P<part>attn|mlp|mixer))?", re.IGNORECASE)
_UNITS: dict[str, Part] = {"h": "head", "g": "group", "kv": "kv"}
_PARTS: dict[str, Part] = {"attn": "attn", "mlp": "mlp", "mixer": "mixer"}

GRAMMAR = "'full', 'embed', 'unembed', 'l0', 'l0 attn', 'l0 mlp', 'l0 mixer', 'l0h1', 'l0g0', 'l0kv0', or a parameter's name"
"""What a restriction may say. lNhM: what head M alone owns; lNkvM: the key and value rows that a group of heads shares; lNgM: a
group's heads with those rows. Norms belong to lN only."""


@dataclass(frozen=True)
class InLayer:
    """A part of one layer; `index` numbers the head or group, and is 0 where there is only one part of the kind."""

    layer: int
    part: Part
    index: int = 0

    def __str__(self) -> str:
        if self.part == "all":
            return f"l{self.layer}"
        for unit, part in _UNITS.items():
            if part == self.part:
                return f"l{self.layer}{unit}{self.index}"
        return f"l{self.layer} {self.part}"


@dataclass(frozen=True)
class Whole:
    """Something that the model has once: everything, its embeddings, its unembedding."""

    name: Literal["full", "embed", "unembed"]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Named:
    """Whatever is no pattern: the name of a parameter, if there is one of that name."""

    name: str

    def __str__(self) -> str:
        return self.name


Pattern = InLayer | Whole | Named


def parse(text: str) -> Pattern:
    """The meaning of one restriction; case and spaces around it do not matter, except in a parameter's name."""
    text = text.strip()
    word = text.lower()
    if word == "full" or word == "embed" or word == "unembed":
        return Whole(word)  # type: ignore[arg-type]  # mypy does not narrow `or` to the literals
    match = _LAYER.fullmatch(text)
    if match is None:
        return Named(text)
    layer = int(match[1])
    if match["unit"]:
        return InLayer(layer, _UNITS[match["unit"].lower()], int(match["index"]))
    return InLayer(layer, _PARTS[match["part"].lower()] if match["part"] else "all")
