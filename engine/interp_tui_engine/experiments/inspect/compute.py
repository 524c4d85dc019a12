"""An inspect run from files to report: read the evidence, rank, and write the table, the cards and the report."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import atomic
from ...catalog import Result
from ...errors import UserError
from ...events import Artifact, Event, Phase, Progress, RunStarted, Warned
from ...features import (
    cards,
    dump_ranking,
    effects,
    evidence,
    interventions,
    jsonl,
    ranking,
    split,
    synthetic,
    table_file,
)
from ...features.effects import Effect
from ...features.fingerprint import fingerprint, rows_mark, signature_rows
from ...features.ranking import Ranking
from ...payload import LEFT_OUT
from ...results.inspect import InspectHeadline, InspectResult, RankedFeature
from ...runtime.context import Context, Ticker
from ...runtime.pause import wait_while_paused
from ...uncertainty import Uncertainty, none_known
from .._features.decoder_rows import rows_of
from .._features.evidence_files import file_of
from .evidence import EvidenceAtHand, read_evidence
from .labels import labelled
from .params import Params
from .report import markdown, unit
from .sources import recorded, served

SERVICES = {"neuronpedia": "Neuronpedia", "goodfire": "Goodfire", "saelens": "the hub", "scope": "the hub"}
TABLE, REPORT = "features.parquet", "report.json"
TOY: dict[str, Any] = {"rows": 400, "features": 256, "followers": 3, "shift": 1.2, "effect": 0.25, "prompts": 16}


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError for evidence that cannot be used."""
    params, manifest = context.manifest.params, context.manifest
    yield RunStarted(manifest.kind, manifest.name, device="cpu", resumed=context.resumed)
    scratch = context.shard_path / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        if params.backend in ("features", *SERVICES):
            return (yield from _from_dump(context, params))
        if params.backend in ("sae", "directions"):
            given = yield from recorded(context, params)
            params = params.model_copy(update={"records": [str(given)]})
        paths, moved = _sources(params, manifest.seed, scratch)
        return (yield from _from_records(context, params, paths, moved, scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sources(params: Params, seed: int, scratch: Path) -> tuple[list[Path], Path | None]:
    if params.backend == "toy":
        model = params.model
        draw = synthetic.planted(seed if model is None else synthetic.seed_of(model, seed), model=model or synthetic.MODEL, **TOY)
        jsonl.write(scratch / "records.jsonl", draw.records())
        interventions.write(scratch / "interventions.jsonl", draw.interventions)
        return [scratch / "records.jsonl"], scratch / "interventions.jsonl"
    moved = file_of(params.interventions, "interventions") if params.interventions else None
    return [file_of(given, "records") for given in params.records], moved


def _from_dump(context: Context, params: Params) -> Generator[Event, None, Result]:
    if params.backend in SERVICES:
        yield Phase(f"asking {SERVICES[params.backend]}", params.criterion[:60])

        def between_requests() -> None:
            wait_while_paused(context)

        features = served(params, between_requests)
    else:
        assert params.features is not None
        yield Phase("reading features", Path(params.features).name)
        features = evidence.read(file_of(params.features, "features"), params.model)
    moved = file_of(params.interventions, "interventions") if params.interventions else None
    effects_found, warnings = _effects(params, features[0].model, moved, {item.feature_id for item in features})
    for message in warnings:
        yield Warned(message)
    ranked = dump_ranking.rank_dump(features, params.criterion, effects_found, seed_ranking=params.ranking == "interp-lab")
    by_name = {item.feature_id: item for item in features}
    made = []
    for place in range(min(params.cards, len(features))):
        row = {key: values[place] for key, values in ranked.table.items()}
        item = by_name[row["feature_id"]]
        effect = effects_found.get(item.feature_id)
        card = {
            **{"feature_id": item.feature_id, "model": item.model, "layer": item.layer, "label": item.label or item.feature_id},
            "explanation": "No activations were given: ranked by its words and effects.",
            "importance": row["importance"],
            # no activations, no association of our own: what the dump says of it, whether or not anything is called
            "association": abs(item.causal_effects.get("signed_association", 0.0)),
            **{"specificity": effect.specificity if effect else 0.0, "stability": 0.0},
            "causal_effect": abs(effect.directed.mean) if effect else 0.0,
            **{"examples": list(item.examples), "source": item.source},
            "causal_effects": cards.causal_effects(effect) if effect else dict(item.causal_effects),
            "metadata": item.metadata,
        }
        signature = list(item.activation_signature)
        card["fingerprint"] = fingerprint(card, params.criterion, signature, list(item.decoder_signature))
        made.append(card)
    return (yield from _finish(context, params, features[0].model, ranked, made, ([], [])))


def _from_records(
    context: Context, params: Params, paths: Sequence[Path], moved: Path | None, scratch: Path
) -> Generator[Event, None, Result]:
    yield Phase("reading records", ", ".join(path.name for path in paths))
    given = yield from read_evidence(context, params, paths, scratch)
    reader, spool, seed = given.reader, given.spool, context.manifest.seed
    design = split.design(given.scores, given.groups, threshold=params.positive_above, held_out=params.held_out, seed=seed)
    if design.groups < len(design.score):
        yield Warned(
            f"{len(design.score):,} rows come from {design.groups:,} texts: rows of one text are alike, so that features are "
            "ranked by their means over each text's rows"
        )
    for name, count in reader.other_models.items():
        yield Warned(f"{count:,} rows are of model {name!r:.60} and were passed over")
    effects_found, warnings = _effects(params, str(reader.model), moved, set(reader.names))
    for message in warnings:
        yield Warned(message)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = ranking.RankingSettings(params.alpha, params.permutations, params.min_rows, seed, params.ranking == "interp-lab", threads)
    yield Phase("ranking", f"{len(reader.names):,} features on {int(design.held_out.sum()):,} held-out rows")
    steps = ranking.rank(
        reader.names,
        spool.column,
        design,
        settings,
        effects=effects_found,
        others=given.others,
        layer=reader.layer,
        about=reader.about,
    )
    ranked = yield from _watched(context, steps, len(reader.names))
    yield Phase("writing cards")
    made = _cards(params, given, ranked, effects_found)
    if params.labeller is not None:
        yield Phase("labelling", f"{len(made)} features by {params.labeller_model}")
        yield from labelled(context, params, given, ranked, made)
    order = np.argsort(-given.scores, kind="stable")
    texts = [given.texts.get(int(row)).text for row in (*order[:3], *order[::-1][:3])]
    given.texts.close()
    spool.close()
    return (yield from _finish(context, params, str(reader.model), ranked, made, (texts[:3], texts[3:])))


def _effects(params: Params, model: str, moved: Path | None, names: set[str]) -> tuple[dict[str, Effect], list[str]]:
    if moved is None:
        return {}, []
    rows = interventions.of_criterion(interventions.read(moved), params.criterion, str(moved), any_criterion=params.any_criterion)
    ours = [row for row in rows if row.model == model]
    if not ours:
        models = ", ".join(dict.fromkeys(row.model for row in rows))
        raise UserError(f"{moved}: no intervention is on model {model!r}", f"they are on {models}")
    by_feature = effects.effects_of(ours)
    warnings = []
    unknown = sorted(by_feature.keys() - names)
    if unknown:
        warnings.append(f"{len(unknown)} features with interventions have no records, such as {unknown[0]!r:.60}")
    if by_feature and not any(row.control for row in ours):
        warnings.append("the interventions have no controls: whether another change would do as much is not known, and no effect is clear")
    return by_feature, warnings


def _watched(context: Context, steps: Iterator[int | Ranking], total: int) -> Generator[Event, None, Ranking]:
    started, ticker = time.monotonic(), Ticker(0.4)
    for step in steps:
        if isinstance(step, Ranking):
            yield Progress(total, total, "features", 0.0)
            return step
        if ticker.due():
            spent = time.monotonic() - started
            yield Progress(step, total, "features", spent / step * (total - step))
            wait_while_paused(context)
    raise AssertionError("a ranking ends with its table")


def _cards(params: Params, given: EvidenceAtHand, ranked: Ranking, effects_found: dict[str, Effect]) -> list[dict[str, Any]]:
    made, decoder = [], rows_of(params.records)
    chosen_rows = signature_rows(given.scores > params.positive_above).tolist()
    texts = [given.texts.get(row) for row in chosen_rows]
    signature = chosen_rows, rows_mark([part for text in texts for part in (text.prompt_id, text.text)])
    for place, feature in enumerate(ranked.order[: params.cards]):
        row = {key: values[place] for key, values in ranked.table.items()}
        column = given.spool.column(feature)
        chosen, middling = cards.top_rows(column, 8 * params.examples), cards.quantile_rows(column)  # several may be tokens of one text
        examples, quantiles = (
            cards.examples_of(column, rows, count, given.texts.get, given.scores)
            for rows, count in ((chosen, params.examples), (middling, len(middling)))
        )
        name = row["feature_id"]
        about = given.reader.about.get(name, {})
        model = str(given.reader.model)
        effect, rows = effects_found.get(name), len(given.scores)
        score = ranked.seed_scores.get(name)
        made.append(cards.card(row, model, params.criterion, column, rows, effect, examples, quantiles, about, signature, score))
        if made[-1]["label"] != name:
            ranked.table["label"][place] = made[-1]["label"]
        made[-1]["fingerprint"] |= decoder(name)
    return made


def _finish(
    context: Context, params: Params, model: str, ranked: Ranking, made: list[dict[str, Any]], texts: tuple[list[str], list[str]]
) -> Generator[Event, None, Result]:
    folder = context.folder.path
    table_file.write(folder / TABLE, ranked.table)
    yield Artifact(TABLE, "every feature, ranked")
    atomic.write_json(folder / REPORT, cards.report(model, params.criterion, made, ranked, texts))
    yield Artifact(REPORT, "the cards")
    best = {key: values[0] for key, values in ranked.table.items()} if ranked.order else {}
    cards_shown = [{key: column[i] for key, column in ranked.table.items()} for i in range(min(50, len(made)))]
    values = InspectResult(
        model=model,
        criterion=params.criterion,
        ranking=params.ranking,
        **ranked.summary,
        cards=tuple(RankedFeature(**row) for row in cards_shown),
        table=TABLE,
        report=REPORT,
    )
    auroc: float | None = best.get("auroc")
    headline = InspectHeadline(
        top=best.get("feature_id", ""),
        auroc=LEFT_OUT if auroc is None else auroc,
        associated=ranked.summary["associated"],
        causal=ranked.summary["causal"],
    )
    bars = {} if auroc is None else {"auroc": _auroc_bar(params, ranked, best)}
    report = markdown(params, model, ranked, made)
    return Result(values.as_json(), headline.as_json(), report, table_file.digests(ranked.table, "features"), bars)


def _auroc_bar(params: Params, ranked: Ranking, best: Mapping[str, Any]) -> Uncertainty:
    """Of the first feature's AUROC: clear of ½ where its q is, which allows for all that were tested; its interval does not."""
    summary, q = ranked.summary, best.get("q")
    count = len(ranked.order)
    bar = Uncertainty(
        f"{summary['held_out_rows']:,} held-out {unit(summary)}",
        low=best.get("auroc_low"),
        high=best.get("auroc_high"),
        control=0.5,
        clear=None if q is None else q <= params.alpha,
        note=f"the first of {count:,} features: the interval is that of one, q is of all" if count > 1 else "",
    )
    return bar if bar.has_bar else none_known("too few rows")
