"""Activation records: which features fired how strongly on which text. A stream of row blocks, so that a file of any length fits in memory.

One JSON object a line: `model`, `criterion_score`, `features` ({id: value}, or a list of {feature_id, activation, label, layer, …}), and
`prompt_id` (or `id`), `text`, `feature_metadata`, `metadata`. A feature that a row does not name has value 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64

from ..complaints import nearest
from ..errors import UserError
from . import ids, jsonl
from .jsonl import RowError

BLOCK_ROWS = 16_384
LARGEST = 1e30
"""Values beyond this are a mistake: their squares and sums could not be held."""
OWN = frozenset({"feature_id", "activation", "value"})
POSITION = ("position", "token_position", "token_index")
"""Keys of `metadata` that tell two rows of one prompt apart."""

Scorer = Callable[[str], float]


class RowBlock(NamedTuple):
    """Some rows, sparse: row i has `features[starts[i]:starts[i+1]]` with `values` there; features are numbered as the reader met them."""

    lines: Int64[np.ndarray, " rows"]
    scores: Float64[np.ndarray, " rows"]
    starts: Int64[np.ndarray, " rows_1"]
    features: Int32[np.ndarray, " entries"]
    values: Float64[np.ndarray, " entries"]
    prompt_ids: list[str]
    texts: list[str]
    uniform: bool
    """Every row names the same features in the same order."""
    keys: Int64[np.ndarray, " rows"]
    """Equal for rows that say the same prompt, text and position: such a pair is a mistake."""
    groups: Int64[np.ndarray, " rows"]
    """Equal for rows of one text (of one prompt, where there is no text): they belong on one side of a split."""


class RecordReader:
    """Reads one or several record files of one model.

    `model` picks the rows of that model; None means that all rows must be of one. `scorer` scores the texts anew where given, else
    every row needs a `criterion_score`. After (and during) `blocks()`, `names` lists the features met and `about` what is said of them.

    Raises RowError at the first row that cannot be used.
    """

    def __init__(self, paths: Sequence[Path], *, model: str | None = None, scorer: Scorer | None = None) -> None:
        self.paths = tuple(paths)
        self.model = model
        self.wanted = model is not None
        self.scorer = scorer
        self.names: list[str] = []
        self.about: dict[str, dict[str, Any]] = {}
        self.rows = 0
        self.other_models: dict[str, int] = {}
        self._number: dict[str, int] = {}
        self._last: tuple[list[str], list[int]] = ([], [])

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[RowBlock]:
        """The files' rows, at most `rows` of one file at a time."""
        for path in self.paths:
            block = _Building()
            for line, row in jsonl.rows(path):
                self._take(path, line, row, block)
                if len(block.lines) >= rows:
                    yield block.done(path, self.names)
                    block = _Building()
            if block.lines:
                yield block.done(path, self.names)
        if not self.rows:
            seen = list(self.other_models)
            if seen:
                guess = nearest(str(self.model), seen) or seen[0]
                raise UserError(f"no record is of model {self.model!r}", f"did you mean {guess!r}? there are: {', '.join(seen[:6])}")
            raise UserError(f"{', '.join(map(str, self.paths))}: no records")

    def _take(self, path: Path, line: int, row: dict[str, Any], block: _Building) -> None:
        model = row.get("model")
        if model != self.model and not self._is_ours(path, line, row):
            return
        features = row.get("features")
        if type(features) is dict:
            names, values = list(features), list(features.values())
        elif type(features) is list:
            names, values = self._listed(path, line, features)
        else:
            what = "is missing" if features is None else f"is {type(features).__name__}, neither an object nor a list"
            raise RowError(path, line, "features", what, 'such as {"L6:D512": 0.7}')
        text = row.get("text")
        if type(text) is not str:
            text = jsonl.text(path, line, row, "text", default="")
        score = row.get("criterion_score")
        if self.scorer is not None:
            score = self.scorer(text)
        elif type(score) is not float or not -LARGEST <= score <= LARGEST:  # the common case needs no call
            score = _bounded(path, line, "criterion_score", jsonl.real(path, line, row, "criterion_score"))
        said = row.get("feature_metadata")
        if said:
            self._describe(path, line, said)
        known, numbers = self._last
        if names != known:
            numbers = self._numbers(names)
            self._last = (names, numbers)
        prompt = row.get("prompt_id", row.get("id"))
        prompt = prompt if type(prompt) is str else jsonl.text(path, line, {"prompt_id": prompt}, "prompt_id", default="")
        metadata = row.get("metadata")
        place = next((metadata[key] for key in POSITION if key in metadata), None) if type(metadata) is dict else None
        block.lines.append(line)
        block.scores.append(score)
        block.patterns.append(numbers)
        block.values += values
        block.prompt_ids.append(prompt)
        block.texts.append(text)
        # rows without an id are never taken for each other
        block.keys.append(hash((prompt, text, place if place.__hash__ else repr(place))) if prompt else hash((self.rows, "no id")))
        block.groups.append(hash(text) if text else hash(prompt) if prompt else hash((self.rows, "alone")))
        self.rows += 1

    def _is_ours(self, path: Path, line: int, row: dict[str, Any]) -> bool:
        model = jsonl.text(path, line, row, "model")
        if self.model is None:
            self.model = model
        elif model != self.model:
            if not self.wanted:
                hint = "set params.model to the one that is meant"
                raise RowError(path, line, "model", f"is {model!r:.60}, but rows before are of {self.model!r:.60}", hint)
            self.other_models[model] = self.other_models.get(model, 0) + 1
            return False
        return True

    def _listed(self, path: Path, line: int, features: list[Any]) -> tuple[list[str], list[Any]]:
        try:
            names = [item["feature_id"] for item in features]
            values = [item["activation"] for item in features]
        except (KeyError, TypeError, IndexError):
            names, values = self._listed_slowly(path, line, features)
        if set(map(type, names)) - {str}:
            names = [jsonl.text(path, line, item, "feature_id") for item in features]
        if len(set(names)) != len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise RowError(path, line, "features", f"names {double!r:.60} twice")
        for name, item in zip(names, features, strict=True):
            if len(item) > 2 and name not in self.about:
                self._describe(path, line, {name: {key: value for key, value in item.items() if key not in OWN}})
        return names, values

    def _listed_slowly(self, path: Path, line: int, features: list[Any]) -> tuple[list[str], list[Any]]:
        names, values = [], []
        for index, item in enumerate(features):
            if type(item) is not dict:
                raise RowError(path, line, f"features[{index}]", f"is {item!r:.40}, not an object")
            if item.get("feature_id") is None:
                raise RowError(path, line, f"features[{index}].feature_id", "is missing")
            value = item.get("activation", item.get("value"))
            if value is None:
                raise RowError(path, line, f"features[{index}].activation", "is missing", "its name is 'activation' or 'value'")
            names.append(item["feature_id"])
            values.append(value)
        return names, values

    def _numbers(self, names: list[str]) -> list[int]:
        number = self._number
        found = []
        for name in names:
            at = number.get(name)
            if at is None:
                at = number[name] = len(self.names)
                self.names.append(name)
            found.append(at)
        return found

    def _describe(self, path: Path, line: int, said: Any) -> None:
        if type(said) is not dict or any(type(item) not in (dict, type(None)) for item in said.values()):
            raise RowError(path, line, "feature_metadata", "must be an object of objects, one for each feature id")
        for name, item in said.items():
            if item:
                jsonl.whole(path, line, item, "layer")
                jsonl.numbers(path, line, item, "decoder_signature")
                if item.get("side_effect") is not None:
                    jsonl.real(path, line, item, "side_effect")
                self.about[name] = self.about.get(name, {}) | item

    def layer(self, name: str) -> int | None:
        """A feature's layer: as the records say, else as its id does."""
        said = self.about.get(name, {}).get("layer")
        return said if type(said) is int else ids.layer_of(name)


class _Building:
    """A block as it fills: plain lists, which are quicker to append to than arrays."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.scores: list[float] = []
        self.patterns: list[list[int]] = []
        self.values: list[Any] = []
        self.prompt_ids: list[str] = []
        self.texts: list[str] = []
        self.keys: list[int] = []
        self.groups: list[int] = []

    def done(self, path: Path, names: Sequence[str]) -> RowBlock:
        first = self.patterns[0]
        uniform = all(pattern is first for pattern in self.patterns)
        starts = np.zeros(len(self.lines) + 1, dtype=np.int64)
        starts[1:] = np.cumsum([len(pattern) for pattern in self.patterns])
        if uniform:
            features = np.tile(np.array(first, dtype=np.int32), len(self.lines))
        else:
            features = np.fromiter(chain.from_iterable(self.patterns), dtype=np.int32, count=int(starts[-1]))
        kinds = set(map(type, self.values))
        numeric = kinds <= {float, int}
        values = np.zeros(0)
        try:
            values = np.array(self.values, dtype=np.float64) if numeric else values
        except OverflowError:  # a whole number beyond all floats
            numeric = False
        if not numeric or not (np.abs(values) <= LARGEST).all():  # NaN is not less than anything
            self._complain(path, names, starts, features)
        return RowBlock(
            np.array(self.lines, dtype=np.int64),
            np.array(self.scores, dtype=np.float64),
            starts,
            features,
            values,
            self.prompt_ids,
            self.texts,
            uniform,
            np.array(self.keys, dtype=np.int64),
            np.array(self.groups, dtype=np.int64),
        )

    def _complain(
        self, path: Path, names: Sequence[str], starts: Int64[np.ndarray, " rows_1"], features: Int32[np.ndarray, " entries"]
    ) -> None:
        for at, value in enumerate(self.values):
            row = int(np.searchsorted(starts, at, side="right")) - 1
            field = f"features[{names[features[at]]!r}]"
            _bounded(path, self.lines[row], field, jsonl.finite_number(path, self.lines[row], field, value))
        raise AssertionError("a value was refused, and then none was")


def _bounded(path: Path, line: int, field: str, value: float) -> float:
    if abs(value) > LARGEST:
        raise RowError(path, line, field, f"is {value:.3g}: larger than {LARGEST:.0e} in size")
    return value


def record(
    model: str,
    prompt_id: str,
    text: str,
    score: float,
    features: dict[str, float],
    *,
    metadata: dict[str, Any] | None = None,
    feature_metadata: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """One row as the format has it."""
    row: dict[str, Any] = {"model": model, "prompt_id": prompt_id, "text": text, "criterion_score": score, "features": features}
    if feature_metadata:
        row["feature_metadata"] = feature_metadata
    if metadata:
        row["metadata"] = metadata
    return row


def check_repeats(paths: Iterable[Path], keys: Int64[np.ndarray, " rows"], lines: Int64[np.ndarray, " rows"]) -> None:
    """Raises UserError when two rows say the same prompt, text and position: a file given twice, or lines pasted twice."""
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    if len(first) == len(keys):
        return
    double = int(first[counts > 1].min())
    again = int(np.flatnonzero(keys == keys[double])[1])
    where = ", ".join(map(str, paths))
    repeated = len(keys) - len(first)
    raise UserError(
        f"{where}: line {int(lines[again])} repeats line {int(lines[double])}: same prompt_id, text and position ({repeated} such rows)",
        "remove the repeats; rows of several tokens of one prompt need metadata.position",
    )
