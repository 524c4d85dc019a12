"""Reports by interp-lab's attributes, on our runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass
class InspectionReport:
    """An inspect run, or a report's file, as an object with cards."""

    made: Any = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self._file.read_text())
        return read

    @property
    def _file(self) -> Path:
        return Path(self.made.report) if hasattr(self.made, "report") else Path(self.made)

    @property
    def model(self) -> str:
        return str(self.to_dict()["model"])

    @property
    def cards(self) -> list[Any]:
        return [SimpleNamespace(**card) for card in self.to_dict()["cards"]]

    def cards_table(self) -> Any:
        return self.made.cards_table()


@dataclass
class MatchReport:
    """A match run, or a matches file."""

    made: Any

    @property
    def matches(self) -> list[Any]:
        found = self.made.matches if hasattr(self.made, "matches") else json.loads(Path(self.made).read_text())["matches"]
        return list(found)

    def matches_table(self) -> Any:
        return self.made.matches_table()


@dataclass
class WrittenInspection:
    report: InspectionReport
    json_path: Path
    markdown_path: Path
    html_path: Path | None


@dataclass
class WrittenMatch:
    report: MatchReport
    json_path: Path
    markdown_path: Path
