"""How far the clean and the corrupt end of a metric lie apart: what every effect of patching is a share of."""

from __future__ import annotations

from pydantic import Field

from ..payload import Payload, Row


class Reach(Payload):
    """Over pairs, counted from 1."""

    mean: float | None = Field(description="mean of clean less corrupt, in units of the metric")
    unrelated: float | None = Field(description="the same for answers that have nothing to do with the prompts")
    p: float | None = Field(description="how often such answers reach as far")
    clear: bool | None = Field(description="whether the reach is clear of them; null where that is not known")
    clean: Row = Field(description="the metric on each clean prompt")
    corrupt: Row = Field(description="the metric at each corrupt end")
    opposed: tuple[int, ...] = Field(description="pairs whose reach is below 0")
    unclear: tuple[int, ...] = Field(description="pairs whose reach says little")
