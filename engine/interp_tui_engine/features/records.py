"""Activation records: which features fired how strongly on which text. A stream of row blocks, so that a file of any length fits in memory.

One JSON object a line: `model`, `criterion_score`, `features` ({id: value}, or a list of {feature_id, activation, label, layer, …}), and
`prompt_id` (or `id`), `text`, `feature_metadata`, `metadata`. A feature that a row does not name has value 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from pydantic_core import from_json

from ..errors import UserError
from ..validation_errors import nearest
from . import ids, jsonl, plain_records
from .jsonl import RowError
from .record_block import LARGEST, Building, RowBlock, bounded

BLOCK_ROWS = 16_384
OWN = frozenset({"feature_id", "activation", "value"})
POSITION = ("position", "token_position", "token_index")
"""Keys of `metadata` that tell two rows of one prompt apart."""

Scorer = Callable[[str], float]


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
        """The files' rows, at most `rows` of one file at a time. Raises UserError where there are no records, or none of the model."""
        for path in self.paths:
            for lines in jsonl.lines(path, rows):
                block = self._plain(lines) or self._carefully(path, lines)
                if block is not None:
                    yield block
        if not self.rows:
            seen = list(self.other_models)
            if seen:
                guess = nearest(str(self.model), seen) or seen[0]
                raise UserError(f"no record is of model {self.model!r}", f"did you mean {guess!r}? there are: {', '.join(seen[:6])}")
            raise UserError(f"{', '.join(map(str, self.paths))}: no records")

    def _plain(self, lines: Sequence[tuple[int, bytes]]) -> RowBlock | None:
        """The lines' block where their rows are plain, as nearly all are; None for those that the careful way must look at."""
        try:
            plain = plain_records.plain([from_json(line, cache_strings="keys") for _, line in lines], LARGEST, scored=self.scorer is None)
            if plain is None or plain.model != (self.model if self.model is not None else plain.model):
                return None
            for about in plain.described:
                self._describe(self.paths[0], 0, about)
        except ValueError:  # not JSON
            return None
        except RowError:  # the careful way says on which line
            return None
        self.model = plain.model
        count = len(lines)
        if plain.uniform:
            pattern = self._numbers(list(plain.features[0]))
            starts = np.arange(count + 1, dtype=np.int64) * len(pattern)
            features = np.tile(np.array(pattern, dtype=np.int32), count)
        else:
            starts = np.concatenate(([0], np.cumsum([len(row) for row in plain.features]))).astype(np.int64)
            features = np.array(self._numbers(chain.from_iterable(plain.features)), dtype=np.int32)
        scores = plain.scores
        if self.scorer is not None:
            scores = np.array([self.scorer(text) for text in plain.texts], dtype=np.float64)
        assert scores is not None
        rows = zip(plain.prompt_ids, plain.texts, plain.metadata, range(self.rows, self.rows + count), strict=True)
        keys, groups = np.array([_same(*row) for row in rows], dtype=np.int64).T
        tokens = [_token(metadata) for metadata in plain.metadata]
        self.rows += count
        numbers = np.array([number for number, _ in lines], dtype=np.int64)
        return RowBlock(numbers, scores, starts, features, plain.values, plain.prompt_ids, plain.texts, plain.uniform, keys, tokens, groups)

    def _carefully(self, path: Path, lines: Sequence[tuple[int, bytes]]) -> RowBlock | None:
        """The lines' block, row by row; None where none is of this reader's model. Raises RowError for a row that cannot be used."""
        block = Building()
        for line, text in lines:
            self._take(path, line, jsonl.parsed(path, line, text), block)
        return block.done(path, self.names) if block.lines else None

    def _take(self, path: Path, line: int, row: dict[str, Any], block: Building) -> None:
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
            score = bounded(path, line, "criterion_score", jsonl.real(path, line, row, "criterion_score"))
        about_features = row.get("feature_metadata")
        if about_features:
            self._describe(path, line, about_features)
        names_before, numbers = self._last
        if names != names_before:
            numbers = self._numbers(names)
            self._last = (names, numbers)
        prompt = row.get("prompt_id", row.get("id"))
        prompt = prompt if type(prompt) is str else jsonl.text(path, line, {"prompt_id": prompt}, "prompt_id", default="")
        metadata = row.get("metadata")
        block.lines.append(line)
        block.scores.append(score)
        block.patterns.append(numbers)
        block.values += values
        block.prompt_ids.append(prompt)
        block.texts.append(text)
        key, group = _same(prompt, text, metadata, self.rows)
        block.keys.append(key)
        block.groups.append(group)
        block.tokens.append(_token(metadata))
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

    def _numbers(self, names: Iterable[str]) -> list[int]:
        number = self._number
        places = []
        for name in names:
            at = number.get(name)
            if at is None:
                at = number[name] = len(self.names)
                self.names.append(name)
            places.append(at)
        return places

    def _describe(self, path: Path, line: int, features: Any) -> None:
        if type(features) is not dict or any(type(item) not in (dict, type(None)) for item in features.values()):
            raise RowError(path, line, "feature_metadata", "must be an object of objects, one for each feature id")
        for name, item in features.items():
            if item:
                jsonl.whole(path, line, item, "layer")
                jsonl.numbers(path, line, item, "decoder_signature")
                if item.get("side_effect") is not None:
                    jsonl.real(path, line, item, "side_effect")
                self.about[name] = self.about.get(name, {}) | item

    def layer(self, name: str) -> int | None:
        """A feature's layer: as the records say, else as its id does."""
        stated = self.about.get(name, {}).get("layer")
        return stated if type(stated) is int else ids.layer_of(name)


def _same(prompt: str, text: str, metadata: Any, row: int) -> tuple[int, int]:
    """A row's key and group; see RowBlock. Rows without an id are never taken for each other."""
    place = None
    if metadata and type(metadata) is dict:
        place = next((metadata[key] for key in POSITION if key in metadata), None)
        place = place if place.__hash__ else repr(place)
    key = hash((prompt, text, place)) if prompt else hash((row, "no id"))
    return key, hash(text) if text else hash(prompt) if prompt else hash((row, "alone"))


def _token(metadata: Any) -> str:
    token = metadata.get("token") if metadata and type(metadata) is dict else None
    return token if type(token) is str else ""


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
