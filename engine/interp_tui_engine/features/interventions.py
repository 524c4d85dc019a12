"""Intervention rows: what a score was, and what it became when one feature was changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..validation_errors import nearest
from . import jsonl
from .jsonl import RowError

LOWERING = ("ablate", "zero", "remove", "knockout", "suppress", "clamp_down")
"""Verbs that take a feature away: a score that falls says that the feature promotes it."""
RAISING = ("amplify", "steer", "patch", "patch_in", "clamp", "clamp_up")
"""Verbs that put a feature in: a score that rises says so."""
VERBS = (*LOWERING, *RAISING)
CONTROLS = ("control", "matched_frequency", "matched_norm", "negative_control", "placebo", "random", "random_feature", "shuffled_labels")
"""Values of metadata.control_type by which a row is a control: a change of the same kind where no effect is expected."""


@dataclass(frozen=True)
class Intervention:
    """One run with one feature changed. `criterion` None means that the row may serve any criterion."""

    model: str
    feature_id: str
    verb: str
    baseline: float
    changed: float
    criterion: str | None = None
    prompt_id: str = ""
    side_effect: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def effect(self) -> float:
        """The directed effect d: positive where the feature promotes the score."""
        return self.baseline - self.changed if self.verb in LOWERING else self.changed - self.baseline

    @property
    def control(self) -> str | None:
        """The kind of control the row is, or None for the feature's own effect."""
        stated = self.metadata.get("control_type")
        return str(stated).lower() if stated is not None and str(stated).lower() in CONTROLS else None

    @property
    def strength(self) -> float | None:
        """By how much the feature was changed, where the row says it."""
        stated = self.metadata.get("strength", self.metadata.get("steering_strength"))
        return float(stated) if isinstance(stated, (int, float)) and not isinstance(stated, bool) else None


def criterion_key(text: str) -> str:
    """A criterion's text as rows are matched by it: lower-cased, white space collapsed."""
    return " ".join(text.lower().split())


def read(path: Path) -> list[Intervention]:
    """The rows of a file. Raises RowError for one that cannot be used, a verb whose direction is not known among them."""
    interventions = [_one(path, line, row) for line, row in jsonl.rows(path)]
    if not interventions:
        raise UserError(f"{path} holds no interventions")
    return interventions


def write(path: Path, rows: Iterable[Intervention]) -> int:
    """Write rows as `read` reads them."""
    return jsonl.write(path, map(_record, rows))


def of_criterion(rows: Sequence[Intervention], text: str, where: str, *, any_criterion: bool = False) -> list[Intervention]:
    """The rows of this criterion.

    Raises UserError where there are rows and none does, naming the criteria they are for.
    """
    wanted = criterion_key(text)
    matching = [row for row in rows if any_criterion or row.criterion is None or criterion_key(row.criterion) == wanted]
    if rows and not matching:
        others = list(dict.fromkeys(row.criterion for row in rows if row.criterion is not None))
        listed = "; ".join(f"{other!r:.70}" for other in others[:3]) + (" …" if len(others) > 3 else "")
        raise UserError(
            f"{where}: its {len(rows)} interventions are for another criterion: {listed}",
            f"this run's is {text!r:.70}; set any_criterion = true to use them for it all the same",
        )
    return matching


def _record(row: Intervention) -> dict[str, Any]:
    record: dict[str, Any] = {"model": row.model, "feature_id": row.feature_id}
    if row.criterion is not None:
        record["criterion"] = row.criterion
    record |= {"intervention": row.verb, "prompt_id": row.prompt_id, "baseline_score": row.baseline, "intervention_score": row.changed}
    if row.side_effect is not None:
        record["side_effect_score"] = row.side_effect
    return record | ({"metadata": row.metadata} if row.metadata else {})


def _one(path: Path, line: int, row: dict[str, Any]) -> Intervention:
    verb = jsonl.text(path, line, row, "intervention").lower()
    if verb not in VERBS:
        guess = nearest(verb, VERBS)
        hint = f"{f'did you mean {guess!r}? ' if guess else ''}one of {', '.join(VERBS)}"
        raise RowError(path, line, "intervention", f"{verb!r:.40} has no known direction", hint)
    return Intervention(
        model=jsonl.text(path, line, row, "model"),
        feature_id=jsonl.text(path, line, row, "feature_id"),
        verb=verb,
        baseline=jsonl.real(path, line, row, "baseline_score"),
        changed=jsonl.real(path, line, row, "intervention_score"),
        criterion=jsonl.text(path, line, row, "criterion") if row.get("criterion") is not None else None,
        prompt_id=jsonl.text(path, line, row, "prompt_id", default=""),
        side_effect=jsonl.real(path, line, row, "side_effect_score") if row.get("side_effect_score") is not None else None,
        metadata=jsonl.table(path, line, row, "metadata"),
    )
