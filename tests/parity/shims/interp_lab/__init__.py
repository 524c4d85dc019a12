"""interp-lab's documented names with our runs behind them. What has no counterpart raises NotImplementedError with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import interp_tui_engine as engine
from interp_tui_engine.api.discover import Inspection, Matching

from .artifacts import load_inspection_report, load_match_report
from .schema import InspectionReport, MatchReport, WrittenInspection, WrittenMatch

__version__ = "3.1.0"


def inspect(model: str, criterion: str, *, out: Any = None, html_out: Any = None, **given: Any) -> InspectionReport | WrittenInspection:
    made = engine.inspect(model, criterion, out=out, html_out=html_out, permutations=0, **given)
    report = InspectionReport(made)
    return report if out is None else WrittenInspection(report, made.report, made.folder / "report.md", html_out)


def compare(left: Any, right: Any, *, out: Any = None, **given: Any) -> MatchReport | WrittenMatch:
    sides = [side.made if hasattr(side, "made") else side.report.made if hasattr(side, "report") else side for side in (left, right)]
    made: Matching = engine.compare(*sides, out=out, **given)
    return MatchReport(made) if out is None else WrittenMatch(MatchReport(made), Path(out), Path(out).with_suffix(".md"))


def train_sae(**given: Any) -> Any:
    return engine.train_sae(**given)


def _without(name: str, instead: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name}: {instead}")

    return call


INSTEAD = {
    **dict.fromkeys(("attribution_graph", "attribution_graph_summary", "validate_attribution_graph"), "kind attribution_graph"),
    **dict.fromkeys(("check_explanation_consistency", "compare_model_families", "match_text_pivot", "search_features"), "kind match"),
    **dict.fromkeys(("build_prompts", "prepare_sae_prompts"), "prompts are files of one's own"),
    **dict.fromkeys(("criterion_lab", "criterion_lab_presets", "validate_criterion_assay"), "prompts are files of one's own"),
    **dict.fromkeys(("doctor", "profile_environment", "release_check", "scale_plan", "scaffold_run"), "interp-tui doctor, plan, new"),
    **dict.fromkeys(("intervene", "validate_hf_sae_paths"), "kind interventions"),
    **dict.fromkeys(("validate_matches", "quant_diff", "calibrate"), "every pair and effect stands beside controls"),
    **{"publish_hf_artifact": "interp-tui export --to hub", "run": "interp-tui --batch FILE"},
}
globals().update({name: _without(name, instead) for name, instead in INSTEAD.items()})
__all__ = [
    "Inspection",
    "InspectionReport",
    "MatchReport",
    "compare",
    "inspect",
    "load_inspection_report",
    "load_match_report",
    "train_sae",
]
