"""One checkpoint after another, each a run of its own kind in a folder of its own; what is done stays done. Imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ... import atomic, catalog, payload
from ...catalog import Result
from ...data.facts import facts
from ...digests import of_json
from ...errors import RunFailed
from ...estimators.llc import compute_llc
from ...events import Event, Metrics, Phase, Progress, RunStarted, Warned
from ...figures.lines import Curve, lines_svg
from ...manifest import Manifest
from ...models.loaded import LoadedModel
from ...payload import LEFT_OUT
from ...results.development import CheckpointCase, DevelopmentHeadline, DevelopmentResult
from ...results.susceptibilities import SusceptibilitiesResult
from ...runfolder import RunFolder
from ...runtime.context import Context
from ...samplers.chains.store import open_samples
from ...uncertainty import Uncertainty
from .._sampling.per_restriction import FULL, store_path
from .._sampling.run import STORE, model_of
from ..susceptibilities.report import first_order_holds
from .params import Params, checkpoint_manifest
from .report import report
from .seeds import Error, error_of, half_width, merged
from .stages import exact, quantities, stages


def run(context: Context) -> Generator[Event, None, Result]:
    """Run each checkpoint's kind, once a seed, ask it the facts, gather the numbers. A checkpoint whose chains all fail is warned of and
    left empty."""
    started, params = time.monotonic(), context.manifest.params
    assert isinstance(params, Params)
    context.checkpoint_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    started_once, rows, digests = False, [], {}
    runs = [(index, seed) for index in range(len(params.revisions)) for seed in range(params.seeds)]
    by_seed: list[dict[str, Any]] = []
    for place, (index, seed) in enumerate(runs):
        revision, name = params.revisions[index], f"{index:03d}" if seed == 0 else f"{index:03d}-{seed}"
        ended = context.checkpoint_path / f"{name}.json"
        stored = atomic.read_json(ended)
        if not isinstance(stored, dict):
            request = checkpoint_manifest(context.manifest, revision, seed)
            path = context.folder.path / "checkpoints" / name
            (path / "shards" / "0").mkdir(mode=0o700, parents=True, exist_ok=True)
            inner = replace(context, manifest=request, folder=RunFolder(path), shard=0)
            try:
                result = yield from _retold(inner, revision, (place, len(runs)), len(params.revisions), first=not started_once)
                started_once = True
                stored = _measured(inner, request, result, ask=params.facts and seed == 0)
            except RunFailed as error:
                yield Warned(f"{revision}: {error.reason}; it is left out")
                stored = {"headline": {}, "freedom": {}, "reason": error.reason, "digest": None, "state": "failed"}
            atomic.write_json(ended, stored)
        digests[f"checkpoints/{name}"] = stored["digest"]
        by_seed.append(stored)
        yield Progress((place + 1) / params.seeds, len(params.revisions), "checkpoints")
        if seed == params.seeds - 1:
            rows.append(merged(by_seed))
            by_seed = []
            row = rows[-1]
            case = CheckpointCase(values={"model.revision": revision}, state=row["state"], headline=row["headline"], reason=row["reason"])
            yield Metrics("case", index, case.as_json())
    if not any(row["headline"] for row in rows):
        raise RunFailed(f"every checkpoint failed; the first: {rows[0]['reason']}", "lower lr, raise localization, or lower n_beta")
    names = list(dict.fromkeys(name for row in rows for name in row["headline"]))
    series = {name: [row["headline"].get(name) for row in rows] for name in names}
    freedom = [row["freedom"] for row in rows]
    values = DevelopmentResult(
        revisions=tuple(params.revisions),
        series={name: tuple(column) for name, column in series.items()},
        stages=stages(series, freedom),
        seconds=time.monotonic() - started,
    )
    _write_figure(context, params.revisions, series)
    last = rows[-1]["headline"]

    def of_last(name: str) -> float:
        """The last checkpoint's number, where it has one."""
        number: float | None = last.get(name)
        return LEFT_OUT if number is None else number

    headline = DevelopmentHeadline(
        llc_mean=of_last("llc_mean"), llc_std_error=of_last("llc_std_error"), fact_accuracy=of_last("fact_accuracy")
    ).as_json()
    bars = _uncertainty(context.manifest, series, freedom, headline)
    return Result(values.as_json(), headline, report(context.manifest, values), {k: v for k, v in digests.items() if v}, bars)


def _retold(inner: Context, revision: str, share: tuple[int, int], checkpoints: int, *, first: bool) -> Generator[Event, None, Result]:
    """The checkpoint's own run, told as a part of this one: its phases, warnings, and progress as a fraction of the checkpoints."""
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
            done = (index + event.done / event.total) * checkpoints / count
            yield Progress(round(done, 2), checkpoints, "checkpoints", eta if event.done < event.total else None)
        elif isinstance(event, RunStarted) and first:
            yield replace(event, kind="development", name=inner.folder.path.parent.parent.name)


def _measured(inner: Context, request: Manifest, result: Result, *, ask: bool) -> dict[str, Any]:
    """The checkpoint's numbers: LLC, loss, R-hat, susceptibilities by part and data, share of facts known; `x_std_error` is the error of x.

    Of the susceptibilities: chi, its covariance, and its first order where that holds, which has no error.
    """
    llc = request.kind == "llc"
    store = inner.folder.path / STORE if llc else store_path(inner, FULL)
    estimate = compute_llc(open_samples(store))
    numbers: dict[str, Any] = {name: float(estimate[name]) for name in ("llc_mean", "llc_std_error", "init_loss", "rhat")}
    low, high = float(estimate.llc_low), float(estimate.llc_high)
    freedom = {"llc_mean": _freedom(Uncertainty(std_error=numbers["llc_std_error"], low=low, high=high))}
    responses = payload.read(SusceptibilitiesResult, {} if llc else result.values)
    for table, name in {} if llc else {"mean": "chi", "covariance": "covariance", "first_order": "first order"}.items():
        errors = responses.errors(table)
        for part, row in responses.means(table).items():
            if table == "first_order" and not first_order_holds(responses, part):
                continue  # localization does not prevail there: the number would be no approximation of what is sampled
            for data in (other for other in row if other != request.params.sampling_data):
                numbers[f"{name} {part} {data}"] = row[data]
                numbers[f"{name} {part} {data}_std_error"] = errors.get(part, {}).get(data)
                freedom[f"{name} {part} {data}"] = _freedom(result.uncertainty.get(f"{table}.{part}.{data}"))
    if ask and (accuracy := fact_accuracy(model_of(request))) is not None:
        # half a fact is added to either side, so that none or all of them known is not taken for certain
        count, share = len(facts()), (accuracy * len(facts()) + 0.5) / (len(facts()) + 1)
        numbers |= {"fact_accuracy": accuracy, "fact_accuracy_std_error": math.sqrt(share * (1 - share) / count)}
    kept = {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
    digest = of_json([dict(result.digests), kept])
    known = {name: value for name, value in freedom.items() if value is not None and math.isfinite(value)}
    return {"headline": kept, "freedom": known, "reason": "", "digest": digest, "state": "done"}


def _freedom(bar: Uncertainty | None) -> float | None:
    """The degrees of freedom of Student's t that makes the bar's interval of its standard error; None without both."""
    if bar is None or not bar.std_error or bar.low is None or bar.high is None or not math.isfinite(bar.high - bar.low):
        return None
    from scipy.special import stdtridf  # scipy is slow to import

    return float(stdtridf(0.5 + bar.level / 2, (bar.high - bar.low) / 2 / bar.std_error))


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
    """Every quantity over the checkpoints with its standard errors, each between its own least and largest value: what changes when is
    what it shows."""
    curves = []
    for name, values in quantities(series).items():
        numbers, errors = [value for value in values if value is not None], series.get(error_of(name), [None] * len(values))
        if len(numbers) < 2 or name.startswith("covariance "):
            continue
        low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
        shares = [None if v is None else (v - low) / span for v in values]
        spreads = [(error or 0.0) / span for error in errors]
        bands = [[math.nan if v is None else v + sign * e for v, e in zip(shares, spreads, strict=True)] for sign in (-1, 1)]
        curves.append(Curve(name, list(range(len(revisions))), shares, *(bands if any(spreads) else ((), ()))))
    figures = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    label = ", ".join(f"{i} = {name}" for i, name in enumerate(revisions))
    svg = lines_svg(f"Development: {context.manifest.name}", f"checkpoint: {label}"[:120], "share of its own range, ± 1 error", curves)
    atomic.write_text(figures / "development.svg", svg)


def _uncertainty(
    manifest: Manifest,
    series: Mapping[str, list[float | None]],
    freedom: Sequence[Mapping[str, float]],
    headline: Mapping[str, float | None],
) -> dict[str, Uncertainty]:
    """Of every point: `series.llc_mean.3`; and of the headline's numbers, which are the last checkpoint's."""
    params: Params = manifest.params
    chains = f"{params.num_chains * params.seeds} chains" + (f", {params.seeds} seeds" if params.seeds > 1 else "")
    bars = {}
    for name, values in quantities(series).items():
        errors = series.get(error_of(name), [None] * len(values))
        over = f"{len(facts())} facts" if name == "fact_accuracy" else "exact for these rows" if exact(name) else chains
        for index, (value, error) in enumerate(zip(values, errors, strict=True)):
            if value is not None:
                note = "" if error is not None or exact(name) else "too few effective draws, or one chain"
                reach = None if error is None or exact(name) else half_width(Error(error, freedom[index].get(name, math.inf)))
                low, high = (None, None) if reach is None else (value - reach, value + reach)
                bars[f"series.{name}.{index}"] = Uncertainty(over, error, low, high, note=note)
    last = len(manifest.params.revisions) - 1
    points = {name: f"series.{name}.{last}" for name in headline}
    return bars | {name: bars[point] for name, point in points.items() if point in bars}
