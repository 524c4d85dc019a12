"""Answers by the name of a set, where prompts have none of their own. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

UNITS_NAME = "@units"
_BEFORE_S = ("meter", "mile", "kilogram", "gram", "centimeter", "millimeter", "liter", "milliliter")
UNITS = (*(f" {word}{end}" for word in _BEFORE_S for end in ("s", "")), " feet", " foot", " inches", " inch")
"""The units of length, mass and volume whose summed probability interp-lab scores where it is told no target tokens."""
DESCRIPTION = (
    f"answers of prompts that have none of their own, as one set of tokens; {UNITS_NAME} is interp-lab's default: twenty units of length, "
    "mass and volume"
)
"""Of params.answers, in the kinds that score prompts' answers."""


def expanded(answers: Sequence[str]) -> list[str]:
    """The answers, each set's name in them replaced by its words."""
    return [word for answer in answers for word in (UNITS if answer == UNITS_NAME else (answer,))]
