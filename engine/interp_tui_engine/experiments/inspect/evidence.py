"""Activation records read whole: columns of activations on disk, texts, and each row's score by the file, a rule or a judge."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...events import Event, Metrics
from ...features import criteria, ranking, records
from ...features.column_store import ColumnStore
from ...features.judge import Judge
from ...features.records import RecordReader
from ...features.text_store import TextStore
from ...results.inspect import RecordsRead
from ...runtime.context import Context
from ...runtime.pause import sleep_unless_stopped, wait_while_paused
from .params import Params

BUDGET = 768 << 20
"""Bytes of activations held in memory; the rest goes to a scratch file."""


@dataclass(frozen=True)
class EvidenceAtHand:
    """What was read: activations by column, texts, each row's score and groups."""

    reader: RecordReader
    spool: ColumnStore
    texts: TextStore
    scores: np.ndarray[Any, Any]
    groups: np.ndarray[Any, Any]
    others: list[ranking.Other]


def read_evidence(context: Context, params: Params, paths: Sequence[Path], scratch: Path) -> Generator[Event, None, EvidenceAtHand]:
    """Every record, in blocks, with its scores under the criterion and others. Raises Interrupted, UserError for files of no use."""
    reader = RecordReader(paths, model=params.model, scorer=_scorer(context, params))
    spool, texts = ColumnStore(scratch / "activations", BUDGET), TextStore(scratch / "texts")
    rules = {name: criteria.rule(text) for name, text in params.other_criteria.items()}
    parts: dict[str, list[np.ndarray[Any, Any]]] = {
        "scores": [],
        "keys": [],
        "groups": [],
        "lines": [],
        **{f"other {n}": [] for n in rules},
    }
    started = time.monotonic()
    for block in reader.blocks():
        spool.add(block)
        texts.add(block.prompt_ids, block.texts, block.tokens)
        for name in ("scores", "keys", "groups", "lines"):
            parts[name].append(getattr(block, name))
        for name, score in rules.items():
            parts[f"other {name}"].append(np.array([score(text) for text in block.texts]))
        seconds = time.monotonic() - started
        read = RecordsRead(rows=reader.rows, features=len(reader.names), rows_per_second=reader.rows / max(seconds, 1e-9))
        yield Metrics("records", reader.rows, read.as_json())
        wait_while_paused(context)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    records.check_repeats(paths, joined["keys"], joined["lines"])
    everyone = np.ones(len(joined["scores"]), dtype=bool)
    others = [ranking.Other(name, everyone, joined[f"other {name}"] > 0.5) for name in rules]
    return EvidenceAtHand(reader, spool, texts, joined["scores"], joined["groups"], others)


def _scorer(context: Context, params: Params) -> criteria.Scorer | None:
    """How texts are scored anew: by a rule or a judge; None keeps the file's scores."""
    if params.judge is None:
        return criteria.rule(params.rule) if params.rule else None
    cache = context.checkpoint_path / "judged.jsonl"
    judge = Judge(params.judge, params.judge_model, params.criterion, cache, most=params.judge_calls, sleep=sleep_unless_stopped(context))

    def score(text: str) -> float:
        wait_while_paused(context)
        return judge(text)

    return score
