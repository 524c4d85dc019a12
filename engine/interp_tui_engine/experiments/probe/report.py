"""What a probe run says of itself: its result's numbers, its curves, its report. Torch-free."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import atomic
from ...events import Artifact, Event
from ...figures.lines import Curve, Level, lines_svg
from ...markdown import words
from ...numbers import as_finite
from ...payload import Row, given
from ...results.probe import BestPlace, ChosenPlace, Confusion, PlaceMeasures, ProbeResult
from ...runtime.steps import Numbers
from ...uncertainty import Uncertainty

if TYPE_CHECKING:
    from .params import Params

MEASURES = ("accuracy", "auroc", "auroc_low", "auroc_high", "control_accuracy", "recurring_accuracy", "p")
"""Of one place, in the order in which its numbers are kept. `recurring_accuracy` is the labels' on the folds of the control task."""


@dataclass(frozen=True)
class ProbedPlaces:
    """Held-out numbers of all places."""

    places: Sequence[str]
    table: Numbers
    """(place, layer, measure)"""
    confusion: Numbers
    """(place, layer, true, predicted)"""
    classes: Sequence[str]
    labels: Any
    """(rows,), each the number of its class"""
    choice: ChosenPlace


def result_of(probed: ProbedPlaces, *, groups: int, notes: Sequence[str], seconds: float) -> ProbeResult:
    """The numbers as result.json has them."""
    places, table, labels = probed.places, probed.table, probed.labels

    def column(name: str) -> dict[str, Row]:
        return {place: tuple(as_finite(value) for value in table[i, :, MEASURES.index(name)]) for i, place in enumerate(places)}

    place, layer = divmod(int(np.argmax(table[..., 1])), table.shape[1])
    numbers = measured(table[place, layer])
    majority = float(max((labels == i).mean() for i in range(len(probed.classes))))
    return ProbeResult(
        layers=tuple(range(table.shape[1])),
        accuracy=column("accuracy"),
        auroc=column("auroc"),
        auroc_low=column("auroc_low"),
        auroc_high=column("auroc_high"),
        control_accuracy=column("control_accuracy"),
        recurring_accuracy=column("recurring_accuracy"),
        p=column("p"),
        selectivity={name: tuple(_selectivity(row) for row in table[i]) for i, name in enumerate(places)},
        best_layer=layer,
        best=BestPlace(
            site=places[place],
            **given(numbers),
            selectivity=_selectivity(table[place, layer]),
            over_majority=float(numbers.accuracy or 0.0) - majority,
            confusion=counts(probed.confusion[place, layer]),
            **given(probed.choice),
        ),
        classes={label: int((labels == i).sum()) for i, label in enumerate(probed.classes)},
        majority=majority,
        groups=groups,
        notes=tuple(notes),
        seconds=seconds,
    )


def measured(numbers: Numbers) -> PlaceMeasures:
    """One place's numbers, (measures, …) in the order of MEASURES, by name."""
    by_name = {name: as_finite(value) for name, value in zip(MEASURES, numbers, strict=False)}
    return PlaceMeasures(**by_name)


def counts(square: Numbers) -> Confusion:
    """A confusion matrix, (true, predicted), in whole numbers."""
    return tuple(tuple(row) for row in square.astype(int).tolist())


def chosen_among(table: Numbers, fold_aurocs: Numbers, permuted: Numbers) -> ChosenPlace:
    """What the choice of the best place cost: its AUROC on folds that it was not chosen on, and its p among the best of permuted labels.

    `fold_aurocs` (place, layer, repeat, fold), `permuted` (place, layer, permutation). For each fold the place of the largest mean on the
    other folds is taken, and its AUROC on this one (cf. Tibshirani & Tibshirani 2009, Annals of Applied Statistics 3:822).
    """
    places = int(np.prod(table.shape[:2]))
    folds = fold_aurocs.reshape(places, *fold_aurocs.shape[2:]).astype(np.float64)
    apart = []
    for repeat, fold in np.ndindex(*folds.shape[1:]):
        if np.isnan(folds[:, repeat, fold]).any():
            continue
        others = np.delete(folds[:, repeat], fold, axis=1)
        others = others[:, ~np.isnan(others).any(0)]
        if others.shape[1]:
            apart.append(float(folds[int(np.argmax(others.mean(1))), repeat, fold]))
    # the same number of places and of divisions on both sides: what the best of them scores on the first division
    own = folds[:, 0]
    firsts = own[:, ~np.isnan(own).any(0)]
    shuffled = permuted.reshape(places, -1).astype(np.float64)
    highest = shuffled[:, ~np.isnan(shuffled).any(0)].max(0)
    p = (1 + int((highest >= firsts.mean(1).max()).sum())) / (len(highest) + 1) if len(highest) and firsts.shape[1] else None
    return ChosenPlace(
        places=places,
        auroc_apart=float(np.mean(apart)) if apart else None,
        family_p=p,
        permuted_auroc=float(highest.mean()) if len(highest) else None,
    )


def uncertainty_of(values: ProbeResult, rows: int) -> dict[str, Uncertainty]:
    """The error bars of the headline, and what the numbers would be were there nothing to find."""
    best, what = values.best, f"{rows} rows" if values.groups == rows else f"{values.groups} groups of {rows} rows"
    p, places = best.family_p, best.places or 1
    return {
        "best.auroc": Uncertainty(
            over=f"{what}, refitted",
            low=best.auroc_low,
            high=best.auroc_high,
            control=best.permuted_auroc,
            clear=None if p is None else p <= 0.05,
            note=f"the best of {places} places" if places > 1 else "",
        ),
        "best.accuracy": Uncertainty(control=values.majority, note="the AUROC has one; the control is the larger class"),
    }


def _selectivity(measures: Any) -> float | None:
    by_name = dict(zip(MEASURES, measures, strict=True))
    return as_finite(by_name["recurring_accuracy"] - by_name["control_accuracy"])


def figures(folder: Path, places: Sequence[str], table: Numbers) -> Generator[Event, None, None]:
    """Two figures by layer: AUROC with its interval, accuracy beside the control's."""
    (folder / "figures").mkdir(exist_ok=True)
    layers = range(table.shape[1])

    def column(index: int, measure: str) -> list[float]:
        values: list[float] = table[index, :, MEASURES.index(measure)].astype(float).tolist()
        return values

    ranking = [Curve(place, layers, *(column(i, name) for name in ("auroc", "auroc_low", "auroc_high"))) for i, place in enumerate(places)]
    hits = [Curve(place, layers, column(i, "accuracy")) for i, place in enumerate(places)]
    hits += [Curve(f"{place}, control", layers, column(i, "control_accuracy")) for i, place in enumerate(places)]
    for name, label, curves, levels in (("auroc", "AUROC", ranking, [Level("chance", 0.5)]), ("accuracy", "accuracy", hits, [])):
        title = f"held-out {label} by layer"
        atomic.write_text(folder / "figures" / f"{name}.svg", lines_svg(title, "layer", label, curves, levels))
        yield Artifact(f"figures/{name}.svg", title)


def report(params: Params, values: ProbeResult) -> str:
    """The run in Markdown."""
    best, places = values.best, list(values.accuracy)
    interval = f"[{best.auroc_low:.3f}, {best.auroc_high:.3f}]"
    classes, total = list(values.classes), sum(values.classes.values())
    lines = [
        "# Probe",
        "",
        f"Best at layer **{values.best_layer}** of {best.site}: AUROC {best.auroc:.3f} {interval}, "
        f"accuracy {best.accuracy:.3f} where the larger class alone gives {values.majority:.3f} "
        f"({params.probe}, {params.folds} folds, {params.repeats} times).",
        "",
        *_chosen(best, params),
        f"Control task: {_number_text(best.control_accuracy)} of random labels that recur are known by heart, of the real ones there "
        f"{_number_text(best.recurring_accuracy)}: selectivity {_number_text(best.selectivity, signed=True)}.",
        "",
        f"{total} rows" + (f" in {values.groups} groups." if values.groups != total else "."),
        *(f"\n- {words(note)}" for note in values.notes),
        "",
        f"| held-out rows | {' | '.join(f'read as {words(name)}' for name in classes)} |",
        "|---|" + "---:|" * len(classes),
        *(f"| {words(name)} | {' | '.join(map(str, row))} |" for name, row in zip(classes, best.confusion, strict=True)),
        "",
        "![AUROC](figures/auroc.svg)",
        "",
        "![accuracy](figures/accuracy.svg)",
    ]
    for place in places:
        lines += [
            "",
            f"## {place}",
            "",
            "| layer | accuracy | AUROC | 95 % | p | control | selectivity |",
            "|---:|---:|---:|---|---:|---:|---:|",
        ]
        measures = (
            values.accuracy,
            values.auroc,
            values.auroc_low,
            values.auroc_high,
            values.p,
            values.control_accuracy,
            values.selectivity,
        )
        for layer, (a, u, low, high, p, c, s) in enumerate(zip(*(measure[place] for measure in measures), strict=True)):
            cells = [
                _number_text(a),
                _number_text(u),
                f"[{_number_text(low)}, {_number_text(high)}]",
                _number_text(p, digits=2),
                _number_text(c),
                _number_text(s, signed=True),
            ]
            lines.append(f"| {layer} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _chosen(best: BestPlace, params: Params) -> list[str]:
    parts = []
    if best.auroc_apart is not None and (best.places or 0) > 1:
        parts.append(f"Chosen and scored on different folds, the best of {best.places} has AUROC {best.auroc_apart:.3f}.")
    if best.family_p is not None:
        parts.append(
            f"With permuted labels the best of them reaches {best.permuted_auroc:.3f} on average "
            f"(p = {best.family_p:.2g} of {params.permutations} permutations)."
        )
    return [" ".join(parts), ""] if parts else []


def _number_text(value: float | None, *, signed: bool = False, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
