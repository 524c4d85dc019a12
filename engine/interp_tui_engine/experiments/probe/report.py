"""What a probe run says of itself: its result's numbers, its curves, its report. Torch-free."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import atomic
from ...events import Artifact, Event
from ...figures.lines import Curve, Level, lines_svg
from ...markdown import words
from ...runtime.steps import Numbers

if TYPE_CHECKING:
    from .params import Params

MEASURES = ("accuracy", "auroc", "auroc_low", "auroc_high", "control_accuracy")


def values_of(places: Sequence[str], table: Numbers, confusion: Numbers, classes: Sequence[str], y: Any) -> dict[str, Any]:
    """`table` (place, layer, measure) and `confusion` (place, layer, true, predicted) as the result's numbers."""

    def column(name: str) -> dict[str, list[float]]:
        return {place: table[i, :, MEASURES.index(name)].astype(float).tolist() for i, place in enumerate(places)}

    place, layer = divmod(int(np.argmax(table[..., 1])), table.shape[1])
    at = table[place, layer]
    best = {"site": places[place], **dict(zip(MEASURES, map(float, at), strict=True)), "selectivity": float(at[0] - at[4])}
    return {
        "layers": list(range(table.shape[1])),
        **{name: column(name) for name in MEASURES},
        "selectivity": {name: (table[i, :, 0] - table[i, :, 4]).astype(float).tolist() for i, name in enumerate(places)},
        "best_layer": layer,
        "best": {**best, "confusion": confusion[place, layer].astype(int).tolist()},
        "classes": {label: int((y == i).sum()) for i, label in enumerate(classes)},
        "majority": float(max((y == i).mean() for i in range(len(classes)))),
    }


def figures(folder: Path, places: Sequence[str], table: Numbers) -> Generator[Event, None, None]:
    """Two figures by layer: AUROC with its interval, accuracy beside the control's."""
    (folder / "figures").mkdir(exist_ok=True)
    layers = range(table.shape[1])

    def column(index: int, measure: str) -> list[float]:
        found: list[float] = table[index, :, MEASURES.index(measure)].astype(float).tolist()
        return found

    ranking = [Curve(place, layers, *(column(i, name) for name in ("auroc", "auroc_low", "auroc_high"))) for i, place in enumerate(places)]
    hits = [Curve(place, layers, column(i, "accuracy")) for i, place in enumerate(places)]
    hits += [Curve(f"{place}, control", layers, column(i, "control_accuracy")) for i, place in enumerate(places)]
    for name, label, curves, levels in (("auroc", "AUROC", ranking, [Level("chance", 0.5)]), ("accuracy", "accuracy", hits, [])):
        title = f"held-out {label} by layer"
        atomic.write_text(folder / "figures" / f"{name}.svg", lines_svg(title, "layer", label, curves, levels))
        yield Artifact(f"figures/{name}.svg", title)


def report(params: Params, values: dict[str, Any]) -> str:
    """The run in Markdown."""
    best, places = values["best"], list(values["accuracy"])
    interval = f"[{best['auroc_low']:.3f}, {best['auroc_high']:.3f}]"
    classes = list(values["classes"])
    lines = [
        "# Probe",
        "",
        f"Best at layer **{values['best_layer']}** of {best['site']}: AUROC {best['auroc']:.3f} {interval}, "
        f"accuracy {best['accuracy']:.3f}, selectivity {best['selectivity']:+.3f} ({params.probe}, {params.folds} folds). The best of "
        f"{len(places) * len(values['layers'])} places is chosen on the rows it is measured on: expect a little less on new ones.",
        "",
        f"{sum(values['classes'].values())} rows; the larger class alone would give {values['majority']:.3f}.",
        "",
        f"| held-out rows | {' | '.join(f'read as {words(name)}' for name in classes)} |",
        "|---|" + "---:|" * len(classes),
        *(f"| {words(name)} | {' | '.join(map(str, row))} |" for name, row in zip(classes, best["confusion"], strict=True)),
        "",
        "![AUROC](figures/auroc.svg)",
        "",
        "![accuracy](figures/accuracy.svg)",
    ]
    for place in places:
        lines += ["", f"## {place}", "", "| layer | accuracy | AUROC | 95 % | control | selectivity |", "|---:|---:|---:|---|---:|---:|"]
        columns = (values[name][place] for name in (*MEASURES, "selectivity"))
        rows = enumerate(zip(*columns, strict=True))
        lines += [f"| {layer} | {a:.3f} | {u:.3f} | [{lo:.3f}, {hi:.3f}] | {c:.3f} | {s:+.3f} |" for layer, (a, u, lo, hi, c, s) in rows]
    return "\n".join([*lines, ""])
