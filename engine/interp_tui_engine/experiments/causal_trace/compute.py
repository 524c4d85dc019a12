"""A causal trace from prompts to recovery grid. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch

from ...catalog import Result
from ...data.prompts import Pair, answer_ids, encode, texts_of
from ...errors import UserError
from ...events import Event, Metrics, Phase, Warned
from ...models.loaded import LoadedModel
from ...patching import reach_report
from ...patching.reach import Ends, reaches_of
from ...patching.reach_report import Reaches
from ...patching.recovery import GridCell, Trace, TracePrompts, batches, grid, prepare, recovery, rows_of
from ...payload import LEFT_OUT
from ...results.causal_trace import CausalTraceHeadline, TraceCell
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps
from ...sites.answers import Answer
from ...sites.site import Site, site_name
from ...sites.site_map import SiteMap
from .. import _pairs
from .params import Params
from .result import Traced, result_of

T = TypeVar("T")
TOKENS_AT_ONCE = 8192
"""Positions of all rows of a batch together: bounds its memory, and is far more than keeps the machine busy."""


@dataclass(frozen=True)
class Chunk:
    """Cells of one pair that travel together; `samples` runs of noise are averaged."""

    pair: int
    cells: tuple[GridCell, ...]


def run(context: Context) -> Generator[Event, None, Result]:
    """Load, trace, write. Raises UserError for prompts that cannot be traced, Interrupted after a stop."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    model, site_map = yield from open_model(manifest)
    names = _pairs.site_names(params.sites)
    for name in dict.fromkeys([*names, *(["z"] if params.heads else []), *params.freeze]):
        site_map.check(Site(site_name(name), 0))
    records, repeats = _pairs.without_repeats(_pairs.records_of(params))
    prompts = [_prompts(params, record, model, site_map, manifest.seed, index, len(records)) for index, record in enumerate(records)]
    yield run_started(context, model)
    yield Phase("running both prompts", f"{len(records)} pairs" if len(records) > 1 else "")
    reaches = _reaches(params, prompts, site_map, manifest.seed)
    for text in (*repeats, *reach_report.warnings(reaches)):
        yield Warned(text)
    yield Phase("patching", f"{len(records)} pairs" if len(records) > 1 else "")

    together = rows_of(site_map, max((variants[0] for variants in prompts), key=lambda variant: len(variant.clean)))

    @lru_cache(maxsize=1)
    def traces(pair: int) -> list[Trace]:
        kinds = (*names, *(("z",) if params.heads else ()))
        freeze = _pairs.site_names(params.freeze)
        pair_traces = [
            prepare(site_map, variant, kinds, params.metric, window=params.window, freeze=freeze, rows=together)
            for variant in prompts[pair]
        ]
        ends = [sum(getattr(trace, end) for trace in pair_traces) / len(pair_traces) for end in ("clean_metric", "corrupt_metric")]
        if len(records) == 1:
            recovery(0.0, *ends)
        return pair_traces

    chunks = [Chunk(pair, cells) for pair, variants in enumerate(prompts) for cells in _chunks(site_map, variants[0], names, params)]
    steps = Steps(context, chunks, unit="patches", size=lambda chunk: len(chunk.cells))

    def do(chunk: Chunk) -> Numbers:
        pair_traces = traces(chunk.pair)
        patched = torch.stack([trace.patched(chunk.cells) for trace in pair_traces]).mean(0)
        ends = [sum(getattr(trace, end) for trace in pair_traces) / len(pair_traces) for end in ("clean_metric", "corrupt_metric")]
        return np.concatenate([np.array(ends, np.float32), patched.numpy()])

    say = _live_events(chunks, prompts, model, params, names, site_map)
    done = yield from steps.run(do, say)
    traced = Traced(
        params=params,
        records=records,
        names=names,
        tokens=[texts_of(_tokenizer(model), variants[0].clean) for variants in prompts],
        corrupt_tokens=[texts_of(_tokenizer(model), variants[0].corrupt) for variants in prompts],
        firsts=[variants[0].first for variants in prompts],
        ends=[variants[0].last for variants in prompts],
        layers=site_map.num_layers,
        head_count=site_map.heads("z") if params.heads else 0,
        cells=[(chunk.pair, cell) for chunk in chunks for cell in chunk.cells],
        clean=np.array([next(n[0] for c, n in zip(chunks, done, strict=True) if c.pair == p) for p in range(len(records))], np.float32),
        corrupt=np.array([next(n[1] for c, n in zip(chunks, done, strict=True) if c.pair == p) for p in range(len(records))], np.float32),
        patched=np.concatenate([numbers[2:] for numbers in done]),
        reaches=reaches,
        seed=manifest.seed,
        seconds=time.monotonic() - started,
    )
    return (yield from result_of(context, traced))


def _reaches(params: Params, prompts: Sequence[Sequence[TracePrompts]], site_map: SiteMap, seed: int) -> Reaches:
    """Both ends of the metric for each pair; of an answer that is a sequence unrelated ones are not tried, each being a run of its own."""
    other = "with noise on the subject" if params.corruption == "noise" else "on corrupt ones"

    def ends(variants: Sequence[TracePrompts]) -> list[Trace]:
        return [prepare(site_map, variant, (), params.metric, window=1, freeze=()) for variant in variants]

    if any(variants[0].sequence for variants in prompts):
        values = [
            [sum(getattr(trace, end) for trace in pair_traces) / len(pair_traces) for end in ("clean_metric", "corrupt_metric")]
            for pair_traces in map(ends, prompts)
        ]
        return Reaches(params.metric, tuple(clean for clean, _ in values), tuple(corrupt for _, corrupt in values), other)
    logits = (
        Ends(pair_traces[0].ends[0][0], torch.stack([trace.ends[1][0] for trace in pair_traces])) for pair_traces in map(ends, prompts)
    )
    return reaches_of(params.metric, [variants[0].answer for variants in prompts], logits, seed, other)


def _tokenizer(model: LoadedModel) -> Any:
    return model.tokenizer


def _chunks(site_map: SiteMap, prompts: TracePrompts, names: Sequence[str], params: Params) -> list[tuple[GridCell, ...]]:
    rows = max(1, min(params.rows, TOKENS_AT_ONCE // (prompts.last - prompts.first + 1)))
    return batches(grid(site_map, prompts, names, heads=params.heads), rows)


def _live_events(
    chunks: Sequence[Chunk],
    prompts: Sequence[Sequence[TracePrompts]],
    model: LoadedModel,
    params: Params,
    names: Sequence[str],
    site_map: SiteMap,
) -> Callable[[int, Chunk, Numbers], list[Event]]:
    first = {chunk.pair: index for index, chunk in reversed(list(enumerate(chunks)))}
    tokenizer = _tokenizer(model)

    def say(index: int, chunk: Chunk, numbers: Numbers) -> list[Event]:
        clean, corrupt = float(numbers[0]), float(numbers[1])
        first_variant = prompts[chunk.pair][0]
        effect = clean - corrupt
        opens_pair = first[chunk.pair] == index

        def once(value: T) -> T:
            """The value in the pair's first event only."""
            return value if opens_pair else LEFT_OUT

        cell = TraceCell(
            pair=chunk.pair,
            clean_metric=clean,
            corrupt_metric=corrupt,
            cells=tuple((names.index(c.name) if c.head is None else len(names), c.layer, c.position, c.head or 0) for c in chunk.cells),
            recovery=tuple(round((float(value) - corrupt) / effect, 6) if effect else None for value in numbers[2:]),
            pairs=once(len(prompts)),
            sites=once(tuple(names)),
            heads=once(site_map.heads("z") if params.heads else 0),
            layers=once(site_map.num_layers),
            first=once(first_variant.first),
            last=once(first_variant.last),
            metric=once(params.metric),
            tokens=once(tuple(texts_of(tokenizer, first_variant.clean))),
            corrupt_tokens=once(tuple(texts_of(tokenizer, first_variant.corrupt))),
            answer=once(tuple(texts_of(tokenizer, first_variant.answer.right))),
            counterfactual=once(tuple(texts_of(tokenizer, first_variant.answer.wrong))),
        )
        events: list[Event] = [Metrics("cells", index, cell.as_json())]
        if chunk.pair == 0:
            events.append(Metrics("headline", index, CausalTraceHeadline(clean_metric=clean, corrupt_metric=corrupt).as_json()))
        return events

    return say


def _prompts(
    params: Params, record: dict[str, Any], model: LoadedModel, site_map: SiteMap, seed: int, index: int, count: int
) -> list[TracePrompts]:
    """What is traced for one pair: one comparison, or one for each sample of noise."""
    if params.corruption == "noise":
        return _noisy(params, record, model, site_map, seed, index, count)
    (pair,) = (
        _pairs.read_pairs(params, [record], model, site_map, as_whole=True)
        if count == 1
        else _named(params, record, model, site_map, index)
    )
    return [TracePrompts.of(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual), pair.sequence)]


def _named(params: Params, record: dict[str, Any], model: LoadedModel, site_map: SiteMap, index: int) -> list[Pair]:
    try:
        return _pairs.read_pairs(params, [record], model, site_map, as_whole=True)
    except UserError as error:
        raise UserError(f"pair {index + 1}: {error.what}", error.hint) from None


def _noisy(
    params: Params, record: dict[str, Any], model: LoadedModel, site_map: SiteMap, seed: int, index: int, count: int
) -> list[TracePrompts]:
    tokenizer, clean = _tokenizer(model), str(record["clean"])
    where = f"pair {index + 1}: " if count > 1 else ""
    subject = str(record.get("subject") or params.subject or "")
    ids = encode(tokenizer, clean, context=site_map.context, name=f"{where}clean")
    low = clean.rfind(subject)
    if not subject or low < 0:
        raise UserError(f"{where}the subject {subject!r} does not stand in {clean!r}", "give words of the clean prompt as subject")
    offsets = tokenizer(clean, return_offsets_mapping=True)["offset_mapping"]
    hit = [i for i, (start, stop) in enumerate(offsets) if start < low + len(subject) and stop > low]
    right = answer_ids(tokenizer, clean, record["answer"], name=f"{where}answer", when_long=params.long_answers)
    wrong: tuple[int, ...] = ()
    if params.metric == "logit_diff":
        if not record.get("counterfactual"):
            raise UserError(f"{where}counterfactual is missing", "metric = 'logit_diff' needs it, 'prob' does not")
        wrong = answer_ids(tokenizer, clean, record["counterfactual"], name=f"{where}counterfactual", when_long=params.long_answers)
    sequence = params.long_answers == "sequence"
    ids += right[:-1] if sequence else []
    some = torch.arange(min(model.vocab_size, 8192), device=model.device)
    spread = float(site_map.embed(some).float().std())
    variants = []
    for sample in range(params.noise_samples):
        state = int(np.random.SeedSequence([seed, index, sample]).generate_state(1, np.uint64)[0] >> 1)
        noise = torch.zeros(len(ids), site_map.d_model)
        drawn = torch.randn(len(hit), site_map.d_model, generator=torch.Generator().manual_seed(state))
        noise[hit] = drawn * params.noise_scale * spread
        variants.append(TracePrompts(tuple(ids), tuple(ids), Answer(right, wrong), hit[0], sequence, noise.to(model.device)))
    return variants
