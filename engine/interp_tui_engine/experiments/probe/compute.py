"""A probe run: activations of all texts at all places, then one cross-validated probe a place. Imports torch.

A place is a kind of site in one layer at one position. Its numbers are MEASURES, the confusion matrix of its held-out rows, the AUROC of
each fold, and that of each permutation of the labels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import atomic
from ...catalog import Result
from ...data.prompts import need_tokenizer
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase, Warned
from ...models.host_copies import host_copies
from ...payload import LEFT_OUT, given
from ...probes.classifiers import Linear, fit
from ...probes.evaluate import ProbeSettings, Score, cross_validate, divided
from ...results.probe import ProbeCell, ProbeHeadline
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays
from ...sites.cache import ActivationCache
from ...sites.row_memory import fitting_rows
from ...sites.site import Site, site_name
from .labels import check_enough, labelled
from .params import Params, read_rows
from .report import MEASURES, ProbedPlaces, chosen_among, counts, figures, measured, report, result_of, uncertainty_of

STORE, WEIGHTS = "probe.zarr", "probes.safetensors"
ROWS = 32


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError for labels or positions that cannot be probed."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    rows = list(params.examples) or read_rows(Path(str(params.file)))
    model, site_map = yield from open_model(manifest)
    need_tokenizer(model.tokenizer, model.source)
    labels = labelled(rows)
    check_enough(labels, params.folds)
    classes, y, groups, notes = labels
    divided(y, groups, params.folds, manifest.seed)
    settings = ProbeSettings(
        params.folds, params.repeats, params.controls, params.permutations, params.strength, params.resamples, manifest.seed
    )
    yield run_started(context, model)
    for note in notes:
        yield Warned(note)
    kinds = list(dict.fromkeys(site_name(name) for name in params.sites))
    columns = [Site(kind, 0, position=position) for kind in kinds for position in params.positions]
    for column in columns:
        site_map.check(column)
    places = [Site(column.name, layer, position=column.position) for column in columns for layer in range(site_map.num_layers)]
    titles = {column: _title(column, params.positions) for column in columns}
    yield Phase("reading activations", f"{len(rows)} texts")
    x = _read(ActivationCache(model), [str(row["text"]) for row in rows], places, params.positions)
    yield Phase("probing", f"{len(places)} places")

    def do(place: Site) -> Numbers:
        score: Score = cross_validate(params.probe, x[place], y, groups, settings)
        own = [getattr(score, name) for name in MEASURES]
        return np.concatenate([own, score.confusion.ravel(), score.fold_aurocs.ravel(), score.permuted]).astype(np.float32)

    def say(index: int, place: Site, numbers: Numbers) -> list[Event]:
        measures = measured(numbers)
        first = index == 0
        cell = ProbeCell(
            place=titles[Site(place.name, 0, position=place.position)],
            layer=place.layer,
            **given(measures),
            confusion=counts(_square(numbers, len(classes))),
            places=tuple(titles.values()) if first else LEFT_OUT,
            layers=site_map.num_layers if first else LEFT_OUT,
            classes=tuple(classes) if first else LEFT_OUT,
            probe=params.probe if first else LEFT_OUT,
        )
        headline = ProbeHeadline(accuracy=measures.accuracy, auroc=measures.auroc)
        return [Metrics("cells", index, cell.as_json()), Metrics("headline", index, headline.as_json())]

    done = yield from Steps(context, places, unit="probes", size=lambda _: 1).run(do, say)
    shape = (len(columns), site_map.num_layers)
    numbers = np.stack(done).reshape(*shape, -1)
    table, confusion, fold_aurocs, permuted = _parts(numbers, len(classes), params)
    arrays: dict[str, Any] = {name: (("place", "layer"), table[..., i]) for i, name in enumerate(MEASURES)}
    arrays["confusion"] = (("place", "layer", "true", "predicted"), confusion.astype(np.int32))
    if params.probe != "mlp":
        fitted = {place: fit(params.probe, x[place], y, strength=params.strength, seed=manifest.seed) for place in places}
        yield from _save(context.folder.path / WEIGHTS, fitted, x, y, params, classes)
    yield from write_arrays(context.folder.path, STORE, arrays, {"places": list(titles.values()), "classes": classes})
    yield from figures(context.folder.path, list(titles.values()), table)
    choice = chosen_among(table, fold_aurocs, permuted)
    probed = ProbedPlaces(list(titles.values()), table, confusion, classes, y, choice)
    values = result_of(probed, groups=len(np.unique(groups)), notes=notes, seconds=time.monotonic() - started)
    best = values.best
    headline = ProbeHeadline(best_layer=values.best_layer, auroc=best.auroc, accuracy=best.accuracy, majority=values.majority)
    bars = uncertainty_of(values, len(rows))
    return Result(values.as_json(), headline.as_json(), report(params, values), digests(STORE, arrays), bars)


def _title(column: Site, positions: Sequence[int]) -> str:
    """A column's name: the position is said only where there are several."""
    return column.name if len(positions) == 1 else f"{column.name}@{column.position}"


def _square(numbers: Numbers, classes: int) -> Numbers:
    return numbers[len(MEASURES) : len(MEASURES) + classes**2].reshape(classes, classes)


def _parts(numbers: Numbers, classes: int, params: Params) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Measures, confusion matrices, AUROCs of folds (repeat, fold) and of permutations, each behind the axes of places and layers."""
    shape = numbers.shape[:-1]
    ends = np.cumsum([len(MEASURES), classes**2, params.repeats * params.folds, params.permutations])
    table, confusion, folds, permuted = np.split(numbers, ends[:-1], axis=-1)
    return table, confusion.reshape(*shape, classes, classes), folds.reshape(*shape, params.repeats, params.folds), permuted


def _read(cache: ActivationCache, texts: Sequence[str], places: Sequence[Site], positions: Sequence[int]) -> dict[Site, Numbers]:
    """(texts, width) at each place. Raises UserError for a position that some text does not have."""

    def values(some: Sequence[str]) -> list[Numbers]:
        seen = cache.run(some)
        least = min(seen.lengths)
        for position in positions:
            if not -least <= position < least:
                shortest = some[seen.lengths.index(least)]
                raise UserError(
                    f"params.positions names {position}, but {shortest!r} has {least} tokens",
                    f"use {-least} to {least - 1}; -1 is the last",
                )
        # the last layer first: those before it are read with it
        return host_copies([seen[place].flatten(1).float() for place in reversed(places)])[::-1]

    longest = max(cache.lengths(texts))
    read = [numbers for _, numbers in fitting_rows(cache.site_map, longest, ROWS, logits=0).each(texts, values)]
    return {place: np.concatenate(parts) for place, *parts in zip(places, *read, strict=True)}


def _save(
    path: Path, fitted: dict[Site, Any], x: dict[Site, Numbers], y: Any, params: Params, classes: list[str]
) -> Generator[Event, None, None]:
    """The probes fitted to all rows, and for two classes how far along its direction each class's mean lies: the unit of steering by it."""
    from safetensors.numpy import save_file

    held: dict[str, Numbers] = {}
    for place, probe in fitted.items():
        assert isinstance(probe, Linear)
        name = str(place) if len(params.positions) > 1 else str(place.whole)
        held[f"{name}.weight"] = np.ascontiguousarray(probe.weight, np.float32)
        held[f"{name}.bias"] = np.ascontiguousarray(probe.bias, np.float32)
        if len(classes) == 2:
            along = x[place] @ probe.direction
            held[f"{name}.means"] = np.array([along[y == label].mean() for label in (0, 1)], np.float32)
    with atomic.replacing(path) as beside:
        save_file(held, str(beside), metadata={"kind": params.probe, "classes": json.dumps(classes)})
    yield Artifact(path.name, "probes fitted to all rows")
