"""What events and results hold, read as the types that kinds state, each payload once however often a view asks. Headless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from interp_tui_engine.payload import Payload, read

P = TypeVar("P", bound=Payload)


class TypedValues:
    """Remembers what each payload was read as, until another stands in its place."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, type[Payload]], dict[int, tuple[object, Payload]]] = {}

    def newest(self, cls: type[P], series: str, stored: object) -> P:
        """The newest payload of a series."""
        return self._read(cls, series, 0, stored)

    def by_step(self, cls: type[P], series: str, stored: Mapping[int, Any]) -> dict[int, P]:
        """All payloads of a series, in the order of their steps."""
        return {step: self._read(cls, series, step, stored[step]) for step in sorted(stored)}

    def _read(self, cls: type[P], series: str, step: int, stored: object) -> P:
        known = self._known.setdefault((series, cls), {})
        before = known.get(step)
        if before is not None and before[0] is stored:
            assert isinstance(before[1], cls)
            return before[1]
        value = read(cls, stored)
        known[step] = (stored, value)
        return value
