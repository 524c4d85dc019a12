"""From prompts to record lines: batched passes over windows of prompts, each window written and noted before the next. Imports torch."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic_core import to_json
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...data.prompts import encode, need_tokenizer, texts_of
from ...errors import UserError
from ...events import Artifact, Checkpoint, Event, Metrics, Phase, Progress, Warned
from ...features.records import record
from ...models.halving import FittingRows
from ...models.loaded import LoadedModel
from ...results.records import RecordsHeadline, RecordsProgress, RecordsResult
from ...runtime.context import Context, Interrupted, Ticker
from ...runtime.open_model import open_model, run_started
from ...runtime.pause import next_order
from ...sites.site_map import SiteMap
from .._features import prompts_of
from .._features.space import Space
from .feature_values import Recorded, features_of
from .params import Params
from .passes import Passes, PromptTokens, pooled
from .words import words_of

COPIES = 4
"""Copies of a batch's features that reading them holds, at most."""
WINDOW = 256
"""Prompts that are sorted by length together, and written together."""
BATCH_TOKENS = {"cpu": 1024}
"""What caches hold: on a CPU twice as many tokens a second as 8,192 at a time."""


def run(context: Context, params: Params) -> Generator[Event, None, Result]:
    """Write records.jsonl; see `records`."""
    started = time.monotonic()
    manifest = context.manifest
    model, site_map = yield from open_model(manifest)
    yield Phase("reading prompts", params.prompts)
    texts, cut = _texts(params, model, site_map)
    if cut:
        yield Warned(f"{cut} of {len(texts)} prompts are cut to params.max_length = {params.max_length} tokens")
    passes = Passes(model, site_map, params.batch_tokens or BATCH_TOKENS.get(model.device.type, 16_384))
    recorded, texts = features_of(params, manifest.seed, passes, texts)
    yield run_started(context, model)
    yield Phase("recording", f"{len(texts)} prompts")
    features = recorded.features
    out = _Lines(context, gzipped=params.gzip)
    report = Ticker(0.5)
    begun, first = time.monotonic(), out.done
    for start in range(out.done, len(texts), WINDOW):
        window = texts[start : start + WINDOW]
        about = words_of(recorded, site_map, model.tokenizer) if start == 0 else None
        out.append(_lines(params, model, passes, recorded, window, about), start + len(window))
        rate = (out.done - first) / max(1e-9, time.monotonic() - begun)
        if report.due() or out.done == len(texts):
            yield Progress(out.done, len(texts), "prompts", (len(texts) - out.done) / rate)
            yield Metrics("headline", out.done, RecordsHeadline(rows=out.rows, features=features).as_json())
            yield Metrics("records", out.done, RecordsProgress(rows=out.rows, prompts_per_second=rate).as_json())
        order = next_order(context.poll)
        if order != "go":
            yield Checkpoint("checkpoint", out.done)
        if order == "stop":
            raise Interrupted
    path, digest = out.finish()
    yield Artifact(path.name, "activation records")
    about_features = dict(recorded.about)
    values = RecordsResult(
        rows=out.rows,
        prompts=len(texts),
        features=features,
        path=path.name,
        site=about_features.pop("site", params.site),
        pool=params.pool,
        model=params.model_name or model.source,
        prompts_per_second=(out.done - first) / max(1e-9, time.monotonic() - begun),
        seconds=time.monotonic() - started,
        **about_features,
    )
    headline = RecordsHeadline(rows=out.rows, features=features)
    return Result(values.as_json(), headline.as_json(), _report(values, manifest.name), {path.name: digest})


def _texts(params: Params, model: LoadedModel, site_map: SiteMap) -> tuple[list[PromptTokens], int]:
    tokenizer = need_tokenizer(model.tokenizer, model.source)
    encoded, cut = [], 0
    for prompt in prompts_of(params.prompts, every_wording=True):
        limit = site_map.context if params.max_length is None else None
        tokens = encode(tokenizer, prompt.text, context=limit, name=f"prompt {prompt.id!r:.60}")
        cut += params.max_length is not None and len(tokens) > params.max_length
        tokens = tokens[: params.max_length]
        if site_map.context is not None and len(tokens) > site_map.context:
            raise UserError(f"params.max_length = {params.max_length}, but the model reads at most {site_map.context} tokens")
        encoded.append(PromptTokens(prompt, tuple(tokens)))
    return encoded, cut


def _lines(
    params: Params, model: LoadedModel, passes: Passes, recorded: Recorded, window: Sequence[PromptTokens], about: dict[str, Any] | None
) -> list[str]:
    """The window's records as JSON, in its order; the first of them with what is known of the features, if anything."""
    lines: list[list[str]] = [[] for _ in window]
    name = params.model_name or model.source
    spaces = {space.site: space for space in recorded.spaces}
    for places, values in passes.batches(window, recorded.sites):
        rows: dict[int, list[dict[str, float]]] = {place: [] for place in places}
        for site, value in values.items():
            parts = [pooled(value[row], len(window[place].ids), params.pool) for row, place in enumerate(places)]
            space = spaces[site]
            together = FittingRows(model.device, 4 * COPIES * len(space.names), sys.maxsize)
            read = together.each(torch.cat(parts), lambda some, space=space: _read(space, some, params.top_features))  # type: ignore[misc]
            named = (features for _, several in read for features in several)
            for part, place in zip(parts, places, strict=True):
                features = [next(named) for _ in part]
                if rows[place]:
                    for features_here, more in zip(rows[place], features, strict=True):
                        features_here |= more
                else:
                    rows[place] = features
        for place, found_rows in rows.items():
            lines[place] = _records(params, model, name, window[place], found_rows, about if place == 0 else None)
    return [line for prompt_lines in lines for line in prompt_lines]


def _read(space: Space, rows_RD: Tensor, top: int) -> list[dict[str, float]]:
    """Each row's features by name; a dictionary encodes all rows at once. Raises UserError where they are not finite."""
    values_RF = space.read(rows_RD)
    if not bool(torch.isfinite(values_RF).all()):
        raise UserError(f"activations at {space.site} are not finite", "load the model with dtype = 'float32'")
    return _named(space, values_RF, top)


def _named(space: Space, values_RF: Tensor, top: int) -> list[dict[str, float]]:
    """Each row as {feature: value}: all of them, of latents those that are not 0, or the `top` strongest. Few copies for all rows."""
    names = space.names
    if top and top < len(names):
        chosen_RK = values_RF.abs().topk(top, dim=1).indices.sort(dim=1).values
        pairs = zip(chosen_RK.tolist(), values_RF.gather(1, chosen_RK).tolist(), strict=True)
    elif space.dictionary is not None:
        rows_N, chosen_N = values_RF.nonzero(as_tuple=True)
        ends = torch.searchsorted(rows_N, torch.arange(1, len(values_RF) + 1, device=rows_N.device)).tolist()
        chosen, values = chosen_N.tolist(), values_RF[rows_N, chosen_N].tolist()
        pairs = ((chosen[start:stop], values[start:stop]) for start, stop in pairwise([0, *ends]))  # type: ignore[assignment]
    else:
        return [dict(zip(names, values, strict=True)) for values in values_RF.tolist()]
    return [{names[i]: value for i, value in zip(*pair, strict=True) if value != 0.0} for pair in pairs]


def _records(
    params: Params, model: LoadedModel, name: str, text: PromptTokens, rows: list[dict[str, float]], about: dict[str, Any] | None
) -> list[str]:
    prompt = text.prompt
    assert model.tokenizer is not None
    tokens: list[dict[str, Any] | None] = [None]
    if params.pool in ("tokens", "last"):
        first = len(text.ids) - len(rows)
        tokens = [{"position": first + place, "token": token} for place, token in enumerate(texts_of(model.tokenizer, text.ids)[first:])]
    lines = []
    for metadata, features in zip(tokens, rows, strict=True):
        row = record(name, prompt.id, prompt.text, prompt.score, features, metadata=metadata, feature_metadata=about)
        about = None
        lines.append(to_json(row, inf_nan_mode="constants").decode())
    return lines


class _Lines:
    """The record file as it grows, and how much of it counts: after a kill it is cut back to the last window that was noted."""

    def __init__(self, context: Context, *, gzipped: bool) -> None:
        self._gzipped = gzipped
        self._note = context.checkpoint_path / "records.json"
        self._part = context.checkpoint_path / "records.part"
        self._final = context.folder.path / ("records.jsonl.gz" if gzipped else "records.jsonl")
        self._part.parent.mkdir(parents=True, exist_ok=True)
        noted = atomic.read_json(self._note)
        known = noted if isinstance(noted, dict) and self._part.exists() else {"prompts": 0, "rows": 0, "bytes": 0}
        self.done, self.rows, self._bytes = int(known["prompts"]), int(known["rows"]), int(known["bytes"])

    def append(self, lines: Sequence[str], done: int) -> None:
        """Write a window's lines, then note that they count."""
        data = "".join(line + "\n" for line in lines).encode("utf-8", errors="surrogatepass")
        data = gzip.compress(data, compresslevel=6, mtime=0) if self._gzipped else data
        with self._part.open("r+b" if self._part.exists() else "w+b") as file:
            file.truncate(self._bytes)
            file.seek(self._bytes)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.done, self.rows, self._bytes = done, self.rows + len(lines), self._bytes + len(data)
        atomic.write_json(self._note, {"prompts": self.done, "rows": self.rows, "bytes": self._bytes})

    def finish(self) -> tuple[Path, str]:
        """Move the file into the run folder; its path and the sha256 of its lines."""
        if self._part.exists():
            self._part.replace(self._final)
        sha = hashlib.sha256()
        opened: Callable[..., Any] = gzip.open if self._gzipped else open
        with opened(self._final, "rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
        return self._final, sha.hexdigest()


def _report(values: RecordsResult, name: str) -> str:
    return "\n".join(
        [
            f"# records · {name}",
            "",
            f"**{values.rows:,} records of {values.features:,} features** from {values.prompts:,} prompts, {values.pool} token"
            f"{'s' if values.pool == 'tokens' else ''}, model `{values.model}`.",
            "",
            f"In `{values.path}`, one JSON object a line: `model`, `prompt_id`, `text`, `criterion_score`, `features`. A feature that a",
            "record does not name is 0 there. `interp-tui new inspect` ranks them.",
            "",
        ]
    )
