"""What an influence run leaves: the influences, their mean between sequences, the strongest pairs, a report. Imports torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray

from ... import atomic
from ...catalog import Result
from ...data.names import obs_id
from ...estimators.bif import MEMORY_BUDGET, compute_bif
from ...estimators.bif_errors import Floor
from ...events import ArrayWritten, Event, Metrics, Phase, Progress, Warned
from ...figures.heat import heatmap_svg
from ...numbers import as_finite
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...runtime.stream import stream
from ...runtime.token_texts import write_tokens
from ...samplers.chains.store import digests, open_samples
from ...uncertainty import Uncertainty
from .._sampling.run import STORE, Sampled
from .checks import CheckedPairs, between_errors, check
from .params import Params
from .report import report

INFLUENCES, MATRIX = "bif.zarr", "matrix.zarr"
TOP = 40
FIGURE_ROWS = 96
Matrix = Float[NDArray[np.float32], "row row"]


def result(done: Sampled) -> Generator[Event, None, Result]:
    """Influences from the store; pairs, report and result.json's numbers from them."""
    context, params = done.context, done.manifest.params
    assert isinstance(params, Params)
    samples = open_samples(context.folder.path / STORE)
    yield Phase("correlating", f"by {params.method}")
    estimate = yield from stream(lambda emit: _influences(context, samples, params, emit))
    yield ArrayWritten(INFLUENCES, tuple(map(str, estimate["influences"].dims)), estimate["influences"].shape)
    if estimate.attrs["constant_count"]:
        yield Warned(f"{estimate.attrs['constant_count']} losses never vary, so nothing moves with them: null")
    matrix = _matrix(samples, params, estimate)
    checked = yield from check(done, samples.dataset, estimate.attrs["observables"], matrix)
    _write_matrix(context, matrix, checked)
    yield ArrayWritten(MATRIX, ("batch_1", "batch_2"), matrix.shape)
    names = {obs_id(name): name for name in params.observables}
    ids = np.asarray(estimate["input_ids"].values)
    texts = write_tokens(context.folder.path, done.model, [ids])
    owners = [names[obs] for obs, rows in zip(estimate.attrs["observables"], estimate.attrs["rows"], strict=True) for _ in range(rows)]
    pairs = _top_pairs(matrix, owners, ids, texts, checked)
    values: dict[str, Any] = {
        "shape": list(estimate["influences"].shape),
        "method": params.method,
        "covariance": params.covariance,
        "observables": [names[obs] for obs in estimate.attrs["observables"]],
        "rows": list(estimate.attrs["rows"]),
        "between": _between(matrix, owners),
        "between_std_error": {a: {b: as_finite(e) for b, e in row.items()} for a, row in between_errors(checked, owners).items()},
        "top_pairs": pairs,
        "no_error": checked.errors.why,
        "effective_draws": _median(checked.errors.ess),
        "floor": _floor(checked.floor),
        "token_floor": _floor(checked.tokens),
        "agreement": dict(checked.agreement),
        "constant": estimate.attrs["constant"],
        "constant_count": estimate.attrs["constant_count"],
        "healthy_chains": estimate.attrs["healthy_chains"],
        "failed_chains": {str(c.chain): f"step {c.failed_step}: {c.failed_reason}" for c in done.chains.snapshot.chains if not c.healthy},
        "seconds": done.seconds,
    }
    _write_figure(context, matrix, owners, params.covariance)
    headline: dict[str, Any] = {"sequences": len(owners)}
    if pairs:
        headline |= {"strongest": f"{pairs[0]['row_1']} with {pairs[0]['row_2']}", "influence_mean": pairs[0]["value"]}
        headline |= {"influence_std_error": pairs[0]["std_error"]} if pairs[0]["std_error"] is not None else {}
        headline |= {"clear": checked.floor.clear_pairs} if checked.floor is not None else {}
    yield Metrics("headline", 0, headline)
    all_digests = digests(context.folder.path / STORE)
    all_digests |= {f"{name}/{key}": value for name in (INFLUENCES, MATRIX) for key, value in digests(context.folder.path / name).items()}
    return Result(values, headline, report(done.manifest, values, done.config.num_draws), all_digests, _uncertainty(values))


def _influences(context: Context, samples: xr.DataTree, params: Params, emit: Callable[[Event], None]) -> xr.Dataset:
    """To Zarr, block by block; an attempt that was cut short goes on at the block it was at."""
    path, mark = context.folder.path / INFLUENCES, context.checkpoint_path / "bif.json"
    record = atomic.read_json(mark)
    first = int(record["rows"]) if isinstance(record, dict) and path.exists() else 0

    def on_block(done: int, total: int) -> None:
        atomic.write_json(mark, {"rows": done if done < total else max(0, done - 1)})  # the last block's finish is the metadata's
        emit(Progress(done, total, "rows"))
        wait_while_paused(context)

    return compute_bif(
        samples,
        correlation_method=params.method,
        reduce_chain_dimension_method=params.reduce,
        average_tokenwise_bif=params.average,
        compute_covariance=params.covariance,
        memory_budget=MEMORY_BUDGET,
        output_path=path,
        first_row=first,
        on_block=on_block,
    )


def _matrix(samples: xr.DataTree, params: Params, found: xr.Dataset) -> Matrix:
    """Influence between whole sequences: what was asked for, or its mean over pairs of tokens."""
    if found["influences"].ndim == 2:
        return np.asarray(found["influences"].values)
    average = compute_bif(
        samples,
        correlation_method="token",
        reduce_chain_dimension_method=params.reduce,
        average_tokenwise_bif=True,
        compute_covariance=params.covariance,
    )
    return np.asarray(average["influences"].values)


def _write_matrix(context: Context, matrix: Matrix, checked: CheckedPairs) -> None:
    """The matrix between texts; its standard errors and effective draws, whether each pair is clear of the floor, and the first order."""
    path = context.folder.path / MATRIX
    shutil.rmtree(path, ignore_errors=True)
    arrays: dict[str, Any] = {"influences": matrix}
    arrays |= {"std_error": checked.errors.std_error.astype(np.float32), "effective_draws": checked.errors.ess.astype(np.float32)}
    if checked.floor is not None and checked.floor.clear is not None:
        arrays["clear"] = checked.floor.clear.astype(np.int8)
    if checked.first_order is not None:
        arrays["first_order"] = checked.first_order.astype(np.float32)
    dims = ("batch_1", "batch_2")
    xr.Dataset({name: (dims, values) for name, values in arrays.items()}).to_zarr(path, mode="w", consolidated=False)


def _top_pairs(
    matrix: Matrix, owners: list[str], ids: NDArray[np.int64], texts: Mapping[int, str], checked: CheckedPairs
) -> list[dict[str, Any]]:
    """Pairs of different sequences with the largest influence, whichever its sign, each once. clear: of the floor; None without one."""
    upper = np.where(np.triu(np.ones(matrix.shape, dtype=bool), 1), np.nan_to_num(np.abs(matrix)), -1.0)
    order = np.argsort(-upper, axis=None, kind="stable")[:TOP]

    def text(row: int) -> str:
        return "".join(texts[int(i)] for i in ids[row])[:400]

    rows = []
    for at in order:
        one, two = divmod(int(at), matrix.shape[1])
        if upper[one, two] >= 0 and math.isfinite(matrix[one, two]):
            entry = {"row_1": one, "row_2": two, "value": float(matrix[one, two]), **_certainty(checked, one, two)}
            rows.append({**entry, "data_1": owners[one], "data_2": owners[two], "text_1": text(one), "text_2": text(two)})
    return rows


def _certainty(checked: CheckedPairs, one: int, two: int) -> dict[str, Any]:
    """How sure one pair's influence is; None where something is not known."""
    clear, exact = None if checked.floor is None else checked.floor.clear, checked.first_order
    return {
        "std_error": as_finite(checked.errors.std_error[one, two]),
        "effective_draws": as_finite(checked.errors.ess[one, two]),
        "clear": None if clear is None else bool(clear[one, two]),
        "first_order": None if exact is None else as_finite(exact[one, two]),
    }


def _median(values: NDArray[np.float64]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def _floor(one: Floor | None) -> dict[str, Any] | None:
    return None if one is None else {"standard_errors": one.level, "pairs": one.pairs, "clear_pairs": one.clear_pairs}


def _uncertainty(values: Mapping[str, Any]) -> dict[str, Uncertainty]:
    """Of the strongest pairs: `top_pairs.0.value`."""
    chains = len(values["healthy_chains"])
    bars = {}
    for index, pair in enumerate(values["top_pairs"]):
        draws = pair["effective_draws"]
        over = f"{chains} {'chain' if chains == 1 else 'chains'}" + (f", {draws:.0f} effective draws" if draws is not None else "")
        note = "" if pair["std_error"] is not None else values["no_error"] or "too few effective draws for this pair"
        bars[f"top_pairs.{index}.value"] = Uncertainty(over, pair["std_error"], clear=pair["clear"], control=0.0, note=note)
    if values["top_pairs"]:
        bars["influence_mean"] = bars["top_pairs.0.value"]  # the headline's name for it
    return bars


def _between(matrix: Matrix, owners: list[str]) -> dict[str, dict[str, float | None]]:
    """Mean influence between sequences of either kind of data, a sequence's own left out."""
    kinds, of = list(dict.fromkeys(owners)), np.array(owners)
    off = ~np.eye(len(owners), dtype=bool)
    means: dict[str, dict[str, float | None]] = {}
    for a in kinds:
        means[a] = {}
        for b in kinds:
            cells = matrix[np.outer(of == a, of == b) & off]
            cells = cells[np.isfinite(cells)]
            means[a][b] = float(cells.mean(dtype=np.float64)) if cells.size else None
    return means


def _write_figure(context: Context, matrix: Matrix, owners: list[str], covariance: bool) -> None:
    figures: Path = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    rows = np.unique(np.linspace(0, len(owners) - 1, min(len(owners), FIGURE_ROWS)).astype(int))
    labels = [f"{owners[row]} {row}" for row in rows]
    off = np.where(np.eye(len(owners), dtype=bool), np.nan, matrix)  # a sequence's own would set the scale
    grid = [[float(v) if np.isfinite(v) else None for v in off[row, rows]] for row in rows]
    unit = "covariance, nats²" if covariance else "correlation"
    title = f"Influence between sequences: {context.manifest.name}"
    atomic.write_text(figures / "influence.svg", heatmap_svg(title, labels, [str(row) for row in rows], grid, unit))
