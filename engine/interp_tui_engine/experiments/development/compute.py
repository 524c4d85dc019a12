"""One checkpoint after another, each a run of its own kind in a folder of its own; what is done stays done. Imports torch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import torch

from ... import atomic, catalog
from ...catalog import Result
from ...data.facts import facts
from ...errors import RunFailed
from ...estimators.llc import compute_llc
from ...events import Event, Metrics, Phase, Progress, RunStarted, Warned
from ...figures.lines import Curve, lines_svg
from ...manifest import Manifest
from ...models.loaded import LoadedModel
from ...runfolder import RunFolder
from ...runtime.context import Context
from ...samplers.chains.store import open_samples
from .._sampling.per_restriction import FULL, store_path
from .._sampling.run import STORE, model_of
from .params import Params, checkpoint_manifest


def run(context: Context) -> Generator[Event, None, Result]:
    """Run each checkpoint's kind, ask it the facts, gather the numbers. A checkpoint whose chains all fail is warned of and left empty."""
    started, params = time.monotonic(), context.manifest.params
    assert isinstance(params, Params)
    context.checkpoint_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    told, rows, digests = False, [], {}
    for index, revision in enumerate(params.revisions):
        ended = context.checkpoint_path / f"{index:03d}.json"
        known = atomic.read_json(ended)
        if not isinstance(known, dict):
            request = checkpoint_manifest(context.manifest, revision)
            path = context.folder.path / "checkpoints" / f"{index:03d}"
            (path / "shards" / "0").mkdir(mode=0o700, parents=True, exist_ok=True)
            inner = replace(context, manifest=request, folder=RunFolder(path), shard=0)
            share = index, len(params.revisions)
            try:
                result = yield from _retold(inner, revision, share, first=not told)
                told = True
                known = _measured(inner, request, result, ask=params.facts)
            except RunFailed as error:
                yield Warned(f"{revision}: {error.reason}; it is left out")
                known = {"headline": {}, "reason": error.reason, "digest": None, "state": "failed"}
            atomic.write_json(ended, known)
        rows.append(known)
        digests[f"checkpoints/{index:03d}"] = known["digest"]
        yield Metrics("case", index, {"values": {"model.revision": revision}, **{k: known[k] for k in ("state", "headline", "reason")}})
        yield Progress(index + 1, len(params.revisions), "checkpoints")
    if not any(row["headline"] for row in rows):
        raise RunFailed(f"every checkpoint failed; the first: {rows[0]['reason']}", "lower lr, raise localization, or lower n_beta")
    names = list(dict.fromkeys(name for row in rows for name in row["headline"]))
    series = {name: [row["headline"].get(name) for row in rows] for name in names}
    values = {"revisions": params.revisions, "series": series, "seconds": time.monotonic() - started}
    _write_figure(context, params.revisions, series)
    last = rows[-1]["headline"]
    headline = {name: last[name] for name in ("llc_mean", "llc_std_error", "fact_accuracy") if last.get(name) is not None}
    return Result(values, headline, _report(context.manifest, params.revisions, series), {k: v for k, v in digests.items() if v})


def _retold(inner: Context, revision: str, share: tuple[int, int], *, first: bool) -> Generator[Event, None, Result]:
    """The checkpoint's own run, told as a part of this one: its phases, warnings, and progress as a fraction."""
    index, count = share
    events = catalog.get(inner.manifest.kind).run(inner)
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: Result = end.value
            return result
        if isinstance(event, Phase):
            yield replace(event, detail=f"{revision}: {event.detail}" if event.detail else revision)
        elif isinstance(event, Warned):
            yield replace(event, message=f"{revision}: {event.message}")
        elif isinstance(event, Progress) and event.total:
            eta = (
                None
                if event.eta_seconds is None
                else event.eta_seconds * (1 + (count - index - 1) * event.total / max(1.0, event.total - event.done))
            )
            yield Progress(round(index + event.done / event.total, 2), count, "checkpoints", eta if event.done < event.total else None)
        elif isinstance(event, RunStarted) and first:
            yield replace(event, kind="development", name=inner.folder.path.parent.parent.name)


def _measured(inner: Context, request: Manifest, result: Result, *, ask: bool) -> dict[str, Any]:
    """The checkpoint's numbers: LLC with its error, loss, R-hat, susceptibilities by part and data, share of facts known."""
    llc = request.kind == "llc"
    store = inner.folder.path / STORE if llc else store_path(inner, FULL)
    found = compute_llc(open_samples(store))
    numbers = {name: float(found[name]) for name in ("llc_mean", "llc_std_error", "init_loss", "rhat")}
    for part, row in {} if llc else result.values["mean"].items():
        numbers |= {
            f"chi {part} {data}": value for data, value in row.items() if value is not None and data != request.params.sampling_data
        }
    if ask and (accuracy := fact_accuracy(model_of(request))) is not None:
        numbers["fact_accuracy"] = accuracy
    kept = {name: value for name, value in numbers.items() if math.isfinite(value)}
    digest = sha256(json.dumps([dict(result.digests), kept], sort_keys=True).encode()).hexdigest()
    return {"headline": kept, "reason": "", "digest": digest, "state": "done"}


@torch.no_grad()
def fact_accuracy(model: LoadedModel) -> float | None:
    """The share of facts whose answer's first token has, after the prompt, the largest logit of all answers to that relation.

    None for a model without a tokenizer. Chance is one over the number of answers a relation has.
    """
    if model.tokenizer is None:
        return None
    by_relation: dict[str, list[Any]] = {}
    for fact in facts():
        by_relation.setdefault(fact.relation, []).append(fact)
    right = 0
    for asked in by_relation.values():
        answers = torch.tensor([model.tokenizer(fact.answer, add_special_tokens=False)["input_ids"][0] for fact in asked])
        choices = torch.tensor(sorted(set(answers.tolist())))
        for fact, answer in zip(asked, answers, strict=True):
            ids = torch.tensor([model.tokenizer(fact.prompt)["input_ids"]], device=model.device)
            logits = model.module(ids).logits[0, -1].cpu()
            right += int(choices[logits[choices].argmax()] == answer)
    return right / len(facts())


def _write_figure(context: Context, revisions: list[str], series: Mapping[str, list[float | None]]) -> None:
    """Every quantity over the checkpoints, each between its own least and largest value: what changes when is what it shows."""
    curves = []
    for name, values in series.items():
        numbers = [value for value in values if value is not None]
        if name in ("llc_std_error", "rhat") or len(numbers) < 2:
            continue
        low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
        curves.append(Curve(name, list(range(len(revisions))), [None if v is None else (v - low) / span for v in values]))
    figures = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    label = ", ".join(f"{i} = {name}" for i, name in enumerate(revisions))
    svg = lines_svg(f"Development: {context.manifest.name}", f"checkpoint: {label}"[:120], "share of its own range", curves)
    atomic.write_text(figures / "development.svg", svg)


def _report(manifest: Manifest, revisions: list[str], series: Mapping[str, list[float | None]]) -> str:
    lines = [f"# development · {manifest.name}", "", "![every quantity over the checkpoints](figures/development.svg)", ""]
    lines += [f"| checkpoint | {' | '.join(series)} |", f"|---|{'---:|' * len(series)}"]
    for index, revision in enumerate(revisions):
        cells = ["–" if values[index] is None else f"{values[index]:.4g}" for values in series.values()]
        lines.append(f"| {revision} | {' | '.join(cells)} |")
    lines += ["", "Stages, where a quantity changed most from one checkpoint to the next:", ""]
    for name, values in series.items():
        steps = [(abs(b - a), i) for i, (a, b) in enumerate(pairwise(values)) if a is not None and b is not None]
        if steps and name not in ("llc_std_error", "rhat"):
            _, at = max(steps)
            lines.append(f"- {name}: {revisions[at]} → {revisions[at + 1]} ({values[at]:.4g} → {values[at + 1]:.4g})")
    return "\n".join(lines) + "\n"
