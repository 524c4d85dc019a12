"""A token in its text, what one run says of it, and where it stands in another text. Headless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interp_tui_engine.runfolder import RunFolder


@dataclass(frozen=True)
class TokenAt:
    """A token in its text: `tokens` up to it and with it, as the model cut them, and the model that did."""

    tokens: tuple[str, ...]
    model: str = ""
    revision: str = ""

    @property
    def word(self) -> str:
        return bare(self.tokens[-1]) if self.tokens else ""

    @property
    def text(self) -> str:
        """The text up to the token and with it."""
        return "".join(self.tokens)


@dataclass(frozen=True)
class KnownOfToken:
    """What one run says of it. `whole`: the run read the very text up to the token."""

    kind: str
    folder: RunFolder
    whole: bool
    lines: tuple[str, ...]


def bare(token: str) -> str:
    """A token without the space around it, by which it is known again in another text; one of nothing else is its space."""
    return token.strip() or token


def agreeing(tokens: Sequence[str], place: int, token: TokenAt) -> int:
    """How many tokens of a text, from that at `place` backwards, are those of the token's own text from its end."""
    count = 0
    while count < min(place + 1, len(token.tokens)) and bare(tokens[place - count]) == bare(token.tokens[-1 - count]):
        count += 1
    return count


def places(tokens: Sequence[Any], token: TokenAt) -> list[tuple[int, bool]]:
    """Where the token stands in another text, the best place first; True where all before it is the same."""
    words = [str(word) for word in tokens]
    here = {place: agreeing(words, place, token) for place, word in enumerate(words) if word and bare(word) == token.word}
    ranked = sorted(here, key=lambda place: (-here[place], place))
    return [(place, here[place] == len(token.tokens) == place + 1) for place in ranked]
