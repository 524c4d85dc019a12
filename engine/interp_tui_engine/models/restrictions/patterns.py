"""The language of weight restrictions: `full`, `l0`, `l0 attn`, `l0h1`, `l0g0`, `embed`, …, parsed at the edge into values. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Part = Literal["all", "attn", "mlp", "mixer", "head", "own", "group", "kv"]
GroupedHeads = Literal["shared", "own"]
"""What lNhM takes where heads share keys and values: those rows too, or only what the head alone owns."""

_LAYER = re.compile(r"l(\d+)(?:\s*(?P<unit>h|g|kv)(?P<index>\d+)(?P<own>\s+own)?|\s+(?P<part>attn|mlp|mixer))?", re.IGNORECASE)
_UNITS: dict[str, Part] = {"h": "head", "g": "group", "kv": "kv"}
_PARTS: dict[str, Part] = {"attn": "attn", "mlp": "mlp", "mixer": "mixer"}

GRAMMAR = "'full', 'embed', 'unembed', 'l0', 'l0 attn', 'l0 mlp', 'l0 mixer', 'l0h1', 'l0h1 own', 'l0g0', 'l0kv0', or a parameter's name"
"""What a restriction may say. lNhM: everything that head M computes with, so also the key and value rows it shares with its group;
`lNhM own`: of these what no other head uses, key biases without effect included; lNkvM: the key and value rows that a group of heads
shares; lNgM: a group's heads with those rows. Norms belong to lN only."""


@dataclass(frozen=True)
class InLayer:
    """A part of one layer; `index` numbers the head or group, and is 0 where there is only one part of the kind."""

    layer: int
    part: Part
    index: int = 0

    def __str__(self) -> str:
        if self.part == "all":
            return f"l{self.layer}"
        if self.part == "own":
            return f"l{self.layer}h{self.index} own"
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
        part = _UNITS[match["unit"].lower()]
        if match["own"]:
            return InLayer(layer, "own", int(match["index"])) if part == "head" else Named(text)
        return InLayer(layer, part, int(match["index"]))
    return InLayer(layer, _PARTS[match["part"].lower()] if match["part"] else "all")


def as_taken(restriction: str | Sequence[str], heads: GroupedHeads) -> str | list[str]:
    """A restriction with each lNhM spelled as `lNhM own` where a run takes heads so."""
    texts = [restriction] if isinstance(restriction, str) else list(restriction)
    taken = [_owned_text(text) if heads == "own" else text for text in texts]
    return taken[0] if isinstance(restriction, str) else taken


def _owned_text(text: str) -> str:
    pattern = parse(text)
    return str(replace(pattern, part="own")) if isinstance(pattern, InLayer) and pattern.part == "head" else text
