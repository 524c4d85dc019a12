"""Probes over layers and sites: where can a label be read off the activations, and is it the model's doing or the probe's?"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from .. import atomic
from ..catalog import Estimate, Group, Result
from ..errors import Problem, UserError
from ..events import Artifact, Event, Metrics, Phase, RunStarted
from ..figures import Curve, lines_svg
from ..manifest import Manifest
from ..specs import FILE, Table
from . import _cost, _pairs
from ._steps import Numbers, Steps, digest, write_arrays
from .context import Context

TITLE = "Probe"
QUESTION = "At which layer can a label be read off the activations?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {
        "examples": [
            {"text": f"The capital of {place} is", "label": side}
            for side, places in (
                ("Europe", ("France", "Italy", "Spain", "Greece", "Norway", "Poland")),
                ("elsewhere", ("Japan", "Egypt", "China", "India", "Kenya", "Cuba")),
            )
            for place in places
        ],
        "folds": 3,
    },
}
STORE = "probe.zarr"
MEASURES = ("accuracy", "auroc", "auroc_low", "auroc_high", "control_accuracy")
ROWS = 32


class Params(Table):
    """Which labelled texts, where to read them, and by what."""

    examples: list[dict[str, Any]] = Field(default_factory=list, description="texts with labels: { text, label, group }")
    file: str | None = Field(None, json_schema_extra=FILE, description="a .jsonl of { text, label, group }, in place of examples")
    sites: list[str] = Field(["resid_post"], min_length=1, description="kinds of site to probe in every layer")
    position: int = Field(-1, description="the token to read, of each text; -1 is the last")
    probe: Literal["logistic", "ridge", "mean_difference", "mlp"] = Field("logistic", description="what reads the label")
    strength: float = Field(1.0, gt=0, description="L2 penalty on standardised activations")
    folds: int = Field(5, ge=2, description="parts of cross-validation; groups are never split")
    resamples: int = Field(500, ge=10, description="bootstrap resamples for the AUROC's interval")


def check(manifest: Manifest) -> list[Problem]:
    """Texts missing or given twice; sites that are none."""
    params: Params = manifest.params
    problems = _pairs.check_sites(manifest, "sites", tuple(name for name in _pairs.PATCHABLE if name != "attn_pattern"))
    if bool(params.examples) == bool(params.file):
        problems.append(Problem("params.examples", "give examples, or a file of them" + (", not both" if params.file else "")))
    for index, row in enumerate(params.examples):
        if (said := _complaint(row)) is not None:
            problems.append(Problem(f"params.examples.{index}", said, value=row))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of every text, and the fits."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    texts = len(manifest.params.examples) or 200
    return Estimate(_cost.seconds(2 * size.parameters * texts * 16) + 4, _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read activations once, then probe site by site and layer by layer; what is probed is not probed again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    rows = list(params.examples) or _read(Path(str(params.file)))
    model, anatomy = yield from _pairs.loaded(manifest)
    from ..data.prompts import need_tokenizer
    from ..probes.classifiers import fit
    from ..probes.evaluate import Score, cross_validate, folds_of
    from ..sites.cache import ActivationCache
    from ..sites.site import Site, site_name

    need_tokenizer(model.tokenizer, model.source)
    classes = sorted({str(row["label"]) for row in rows})
    y = np.array([classes.index(str(row["label"])) for row in rows], np.int64)
    names: dict[str, int] = {}
    groups = np.array([names.setdefault(str(row.get("group", f"row {i}")), len(names)) for i, row in enumerate(rows)], np.int64)
    folds_of(y, groups, params.folds, manifest.seed)
    yield RunStarted(manifest.kind, manifest.name, device=str(model.device), resumed=context.resumed, provenance=_pairs.provenance(model))
    kinds = [site_name(name) for name in params.sites]
    places = [Site(kind, layer, position=params.position) for kind in kinds for layer in range(anatomy.num_layers)]
    for place in places[:: anatomy.num_layers]:
        anatomy.check(place)
    yield Phase("reading activations", f"{len(rows)} texts")
    cache = ActivationCache(model)
    read: dict[Site, list[Numbers]] = {place: [] for place in places}
    for start in range(0, len(rows), ROWS):
        seen = cache.run([str(row["text"]) for row in rows[start : start + ROWS]])
        if params.position >= min(seen.lengths) or -params.position > min(seen.lengths):
            raise UserError(f"params.position = {params.position}, but a text has {min(seen.lengths)} tokens", "use -1 for the last")
        for place in reversed(places):
            read[place].append(seen[place].flatten(1).float().cpu().numpy())
    x = {place: np.concatenate(parts) for place, parts in read.items()}
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
        return np.array([getattr(score, name) for name in MEASURES], np.float32)

    def say(index: int, place: Site, numbers: Numbers) -> list[Event]:
        told = dict(zip(MEASURES, map(float, numbers), strict=True))
        return [
            Metrics(place.name, place.layer or 0, told),
            Metrics("headline", index, {"accuracy": told["accuracy"], "auroc": told["auroc"]}),
        ]

    done = yield from Steps(context, places, unit="probes", size=lambda _: 1).run(do, say)
    table = np.stack(done).reshape(len(kinds), anatomy.num_layers, len(MEASURES))
    best = places[int(np.argmax(table[..., 1].ravel()))]
    arrays: dict[str, Any] = {name: (("site", "layer"), table[..., i]) for i, name in enumerate(MEASURES)}
    if params.probe != "mlp":
        weights, biases = zip(
            *(_weights(fit(params.probe, x[p], y, strength=params.strength, seed=manifest.seed)) for p in places), strict=True
        )
        yield from _save(context, places, weights, biases, params, classes)
    yield from write_arrays(context.folder.path, STORE, arrays, {"sites": kinds, "classes": classes, "position": params.position})
    yield from _figures(context, kinds, table)
    values = _values(kinds, table, best, classes, y)
    values["seconds"] = time.monotonic() - started
    headline = {"best_layer": values["best_layer"], "accuracy": values["best"]["accuracy"], "auroc": values["best"]["auroc"]}
    return Result(values, headline, _report(params, kinds, values), {f"{STORE}/{name}": digest(a) for name, (_, a) in arrays.items()})


def _weights(probe: Any) -> tuple[Numbers, Numbers]:
    return np.ascontiguousarray(probe.weight, np.float32), np.ascontiguousarray(probe.bias, np.float32)


def _save(
    context: Context, places: list[Any], weights: Any, biases: Any, params: Params, classes: list[str]
) -> Generator[Event, None, None]:
    from safetensors.numpy import save_file

    held = {
        f"{place.whole}.{part}": array
        for place, w, b in zip(places, weights, biases, strict=True)
        for part, array in (("weight", w), ("bias", b))
    }
    path = context.folder.path / "probes.safetensors"
    save_file(held, str(path.with_suffix(".tmp")), metadata={"kind": params.probe, "classes": json.dumps(classes)})
    path.with_suffix(".tmp").replace(path)
    yield Artifact(path.name, "probes fitted to all rows")


def _values(kinds: list[str], table: Numbers, best: Any, classes: list[str], y: Any) -> dict[str, Any]:
    def column(name: str) -> dict[str, list[float]]:
        return {kind: table[i, :, MEASURES.index(name)].astype(float).tolist() for i, kind in enumerate(kinds)}

    at = table[kinds.index(best.name), best.layer]
    return {
        "layers": list(range(table.shape[1])),
        **{name: column(name) for name in MEASURES},
        "selectivity": {kind: (table[i, :, 0] - table[i, :, 4]).astype(float).tolist() for i, kind in enumerate(kinds)},
        "best_layer": best.layer,
        "best": {"site": best.name, **dict(zip(MEASURES, map(float, at), strict=True)), "selectivity": float(at[0] - at[4])},
        "classes": {label: int((y == i).sum()) for i, label in enumerate(classes)},
        "majority": float(max((y == i).mean() for i in range(len(classes)))),
    }


def _figures(context: Context, kinds: list[str], table: Numbers) -> Generator[Event, None, None]:
    folder = context.folder.path / "figures"
    folder.mkdir(exist_ok=True)
    layers = range(table.shape[1])
    curves = [Curve(f"{kind}", layers, table[i, :, 0].astype(float).tolist()) for i, kind in enumerate(kinds)]
    curves += [Curve(f"{kind}, control", layers, table[i, :, 4].astype(float).tolist()) for i, kind in enumerate(kinds)]
    atomic.write_text(folder / "accuracy.svg", lines_svg("held-out accuracy by layer", "layer", "accuracy", curves))
    yield Artifact("figures/accuracy.svg", "held-out accuracy by layer")


def _report(params: Params, kinds: list[str], values: dict[str, Any]) -> str:
    best = values["best"]
    interval = f"[{best['auroc_low']:.3f}, {best['auroc_high']:.3f}]"
    lines = [
        "# Probe",
        "",
        f"Best at layer **{values['best_layer']}** of {best['site']}: AUROC {best['auroc']:.3f} {interval}, "
        f"accuracy {best['accuracy']:.3f}, selectivity {best['selectivity']:+.3f} ({params.probe}, {params.folds} folds). The best of "
        f"{len(kinds) * len(values['layers'])} places is chosen on the rows it is measured on: expect a little less on new ones.",
        "",
        f"{sum(values['classes'].values())} rows; the larger class alone would give {values['majority']:.3f}.",
        "",
        "![accuracy](figures/accuracy.svg)",
    ]
    for kind in kinds:
        lines += ["", f"## {kind}", "", "| layer | accuracy | AUROC | 95 % | control | selectivity |", "|---:|---:|---:|---|---:|---:|"]
        columns = (values[name][kind] for name in (*MEASURES, "selectivity"))
        rows = enumerate(zip(*columns, strict=True))
        lines += [f"| {layer} | {a:.3f} | {u:.3f} | [{lo:.3f}, {hi:.3f}] | {c:.3f} | {s:+.3f} |" for layer, (a, u, lo, hi, c, s) in rows]
    return "\n".join([*lines, ""])


def _complaint(row: Any) -> str | None:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"]:
        return "has no text; write { text, label }"
    return "has no label; write { text, label }" if row.get("label") is None else None


def _read(path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", "give a .jsonl of { text, label, group }") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error})") from None
        if (said := _complaint(row)) is not None:
            raise UserError(f"{path}, line {number}: {said}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no rows", "give a .jsonl of { text, label, group }")
    return rows
