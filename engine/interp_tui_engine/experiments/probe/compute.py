"""A probe run: activations of all texts at all places, then one cross-validated probe a place. Imports torch.

A place is a kind of site in one layer at one position. Its numbers are MEASURES and the confusion matrix of its held-out rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...catalog import Result
from ...data.prompts import need_tokenizer
from ...errors import UserError
from ...events import Artifact, Event, Metrics, Phase
from ...probes.classifiers import Linear, fit
from ...probes.evaluate import Score, cross_validate, folds_of
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays
from ...sites.cache import ActivationCache
from ...sites.site import Site, site_name
from .params import Params, read_rows
from .report import MEASURES, figures, report, values_of

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
    classes = sorted({str(row["label"]) for row in rows})
    y = np.array([classes.index(str(row["label"])) for row in rows], np.int64)
    names: dict[str, int] = {}
    groups = np.array([names.setdefault(str(row.get("group", f"row {i}")), len(names)) for i, row in enumerate(rows)], np.int64)
    folds_of(y, groups, params.folds, manifest.seed)
    yield run_started(context, model)
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
        score: Score = cross_validate(
            params.probe,
            x[place],
            y,
            groups,
            folds=params.folds,
            strength=params.strength,
            resamples=params.resamples,
            seed=manifest.seed,
        )
        return np.array([*(getattr(score, name) for name in MEASURES), *score.confusion.ravel()], np.float32)

    def say(index: int, place: Site, numbers: Numbers) -> list[Event]:
        told: dict[str, Any] = dict(zip(MEASURES, map(float, numbers), strict=False))
        cell = {"place": titles[Site(place.name, 0, position=place.position)], "layer": place.layer, **told}
        cell["confusion"] = _square(numbers, len(classes)).astype(int).tolist()
        if index == 0:
            cell |= {"places": list(titles.values()), "layers": site_map.num_layers, "classes": classes, "probe": params.probe}
        return [Metrics("cells", index, cell), Metrics("headline", index, {"accuracy": told["accuracy"], "auroc": told["auroc"]})]

    done = yield from Steps(context, places, unit="probes", size=lambda _: 1).run(do, say)
    shape = (len(columns), site_map.num_layers)
    numbers = np.stack(done).reshape(*shape, -1)
    table, confusion = numbers[..., : len(MEASURES)], numbers[..., len(MEASURES) :].reshape(*shape, len(classes), len(classes))
    arrays: dict[str, Any] = {name: (("place", "layer"), table[..., i]) for i, name in enumerate(MEASURES)}
    arrays["confusion"] = (("place", "layer", "true", "predicted"), confusion.astype(np.int32))
    if params.probe != "mlp":
        fitted = {place: fit(params.probe, x[place], y, strength=params.strength, seed=manifest.seed) for place in places}
        yield from _save(context.folder.path / WEIGHTS, fitted, x, y, params, classes)
    yield from write_arrays(context.folder.path, STORE, arrays, {"places": list(titles.values()), "classes": classes})
    yield from figures(context.folder.path, list(titles.values()), table)
    values = values_of(list(titles.values()), table, confusion, classes, y)
    values["seconds"] = time.monotonic() - started
    headline = {"best_layer": values["best_layer"], "accuracy": values["best"]["accuracy"], "auroc": values["best"]["auroc"]}
    return Result(values, headline, report(params, values), digests(STORE, arrays))


def _title(column: Site, positions: Sequence[int]) -> str:
    """A column's name: the position is said only where there are several."""
    return column.name if len(positions) == 1 else f"{column.name}@{column.position}"


def _square(numbers: Numbers, classes: int) -> Numbers:
    return numbers[len(MEASURES) :].reshape(classes, classes)


def _read(cache: ActivationCache, texts: Sequence[str], places: Sequence[Site], positions: Sequence[int]) -> dict[Site, Numbers]:
    """(texts, width) at each place. Raises UserError for a position that some text does not have."""
    read: dict[Site, list[Numbers]] = {place: [] for place in places}
    for start in range(0, len(texts), ROWS):
        seen = cache.run(list(texts[start : start + ROWS]))
        least = min(seen.lengths)
        for position in positions:
            if not -least <= position < least:
                short = texts[start + seen.lengths.index(least)]
                raise UserError(
                    f"params.positions names {position}, but {short!r} has {least} tokens", f"use {-least} to {least - 1}; -1 is the last"
                )
        for place in reversed(places):
            read[place].append(seen[place].flatten(1).float().cpu().numpy())
    return {place: np.concatenate(parts) for place, parts in read.items()}


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
    beside = path.with_suffix(".tmp")
    save_file(held, str(beside), metadata={"kind": params.probe, "classes": json.dumps(classes)})
    beside.replace(path)
    yield Artifact(path.name, "probes fitted to all rows")
