"""Reading reports and matches."""

from __future__ import annotations

from pathlib import Path

from .schema import InspectionReport, MatchReport


def load_inspection_report(path: Path) -> InspectionReport:
    return InspectionReport(path)


def load_match_report(path: Path) -> MatchReport:
    return MatchReport(path)
