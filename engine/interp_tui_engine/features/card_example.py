"""A text on which a feature fires, as a card shows it."""

from __future__ import annotations

from typing import NamedTuple


class CardExample(NamedTuple):
    """One text on which a feature fires: its activation there and its score; where records say it, on which tokens how strongly."""

    activation: float
    score: float
    prompt_id: str
    text: str
    tokens: tuple[str, ...] = ()
    """Consecutive pieces of the text, the token it fires on most among them; empty where the records name no tokens."""
    values: tuple[float, ...] = ()
    """The feature's value on each of `tokens`."""
