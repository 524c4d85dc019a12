"""Where in a forward pass: one vocabulary of places as values, whatever the architecture.

A kind of site is one file in `places/`, which says what it is, its shape and where it is read and written. `embed`, of shape (batch, pos,
d_model), is the token embedding before positions are added, the one site that lies in no block. Torch-free. Text is parsed here, at the
edge; everything else passes `Site` values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ..errors import UserError
from .places import PLACES

NAMES = ("embed", *PLACES)
HEADED = tuple(name for name, place in PLACES.items() if place.heads)
ALIASES = {alias: name for name, place in PLACES.items() for alias in place.aliases}
_TEXT = re.compile(r"(?:L(?P<layer>\d+)[.:]?)?(?:(?P<name>[A-Za-z_]+?))?(?:[.:]?H(?P<head>\d+))?(?:@(?P<position>-?\d+))?")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a forward pass; `layer` is None for `embed` only, `head` and `position` are None for all of them."""

    name: str
    layer: int | None = None
    head: int | None = None
    position: int | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"there is no site {self.name!r}", _choices(self.name))
        if self.head is not None and self.name not in HEADED:
            raise UserError(f"site {self.name!r} has no heads, but head {self.head} is asked for", f"sites with heads: {', '.join(HEADED)}")
        if self.name == "embed" and self.layer is not None:
            raise UserError(f"site 'embed' has no layers, but layer {self.layer} is asked for", "leave the layer out")

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"L{self.layer}."
        head = "" if self.head is None else f".H{self.head}"
        return f"{layer}{self.name}{head}{'' if self.position is None else f'@{self.position}'}"

    @property
    def whole(self) -> Site:
        """The same place with all its heads and positions: what a hook reads."""
        return self if self.head is None and self.position is None else replace(self, head=None, position=None)


def parse(text: str) -> Site:
    """The site that a user means by 'L3.attn_out', 'L3.z.H5', 'L3H5' (a head), 'L6' (resid_post), 'embed' or 'attn_out@-1'.

    Raises UserError with the sites there are.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None or not (match["name"] or match["layer"]):
        raise UserError(f"{text!r} is no site", "write it as L3.attn_out, L3.z.H5, L3H5 or embed")
    head = None if match["head"] is None else int(match["head"])
    name = match["name"] or ("z" if head is not None else "resid_post")
    layer = None if match["layer"] is None else int(match["layer"])
    position = None if match["position"] is None else int(match["position"])
    return Site(site_name(name), layer, head, position)


def site_name(text: str) -> str:
    """The canonical name of a kind of site, aliases such as 'heads' and 'mlp' allowed. Raises UserError."""
    name = ALIASES.get(text, text)
    if name not in NAMES:
        raise UserError(f"there is no site {text!r}", _choices(text))
    return name


def _choices(text: str) -> str:
    guess = get_close_matches(text, [*NAMES, *ALIASES], 1, 0.5)
    return f"{f'did you mean {guess[0]!r}? ' if guess else ''}choose from {', '.join(NAMES)}"
