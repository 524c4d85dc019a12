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
from ...payload import LEFT_OUT
from ...results.bif import BIFHeadline, BIFResult, InfluenceFloor, InfluencePair
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
    failed = [c for c in done.chains.snapshot.chains if not c.healthy]
    values = BIFResult(
        shape=tuple(estimate["influences"].shape),
        method=params.method,
        covariance=params.covariance,
        observables=tuple(names[obs] for obs in estimate.attrs["observables"]),
        rows=tuple(estimate.attrs["rows"]),
        between=_between(matrix, owners),
        between_std_error={a: {b: as_finite(e) for b, e in row.items()} for a, row in between_errors(checked, owners).items()},
        top_pairs=pairs,
        no_error=checked.errors.why,
        effective_draws=_median(checked.errors.ess),
        floor=_stated(checked.floor),
        token_floor=_stated(checked.tokens),
        agreement=dict(checked.agreement),
        constant=tuple(tuple(place) for place in estimate.attrs["constant"]),
        constant_count=estimate.attrs["constant_count"],
        healthy_chains=tuple(estimate.attrs["healthy_chains"]),
        failed_chains={str(c.chain): f"step {c.failed_step}: {c.failed_reason}" for c in failed},
        seconds=done.seconds,
    )
    _write_figure(context, matrix, owners, params.covariance)
    headline = _headline(values, len(owners)).as_json()
    yield Metrics("headline", 0, headline)
    all_digests = digests(context.folder.path / STORE)
    all_digests |= {f"{name}/{key}": value for name in (INFLUENCES, MATRIX) for key, value in digests(context.folder.path / name).items()}
    text = report(done.manifest, values, done.config.num_draws)
    return Result(values.as_json(), headline, text, all_digests, _uncertainty(values))


def _headline(values: BIFResult, sequences: int) -> BIFHeadline:
    if not values.top_pairs:
        return BIFHeadline(sequences=sequences)
    pair = values.top_pairs[0]
    return BIFHeadline(
        sequences=sequences,
        strongest=f"{pair.row_1} with {pair.row_2}",
        influence_mean=pair.value,
        influence_std_error=LEFT_OUT if pair.std_error is None else pair.std_error,
        clear=LEFT_OUT if values.floor is None else values.floor.clear_pairs,
    )


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


def _matrix(samples: xr.DataTree, params: Params, estimate: xr.Dataset) -> Matrix:
    """Influence between whole sequences: what was asked for, or its mean over pairs of tokens."""
    if estimate["influences"].ndim == 2:
        return np.asarray(estimate["influences"].values)
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
) -> tuple[InfluencePair, ...]:
    """Pairs of different sequences with the largest influence, whichever its sign, each once. clear: of the floor; None without one."""
    upper = np.where(np.triu(np.ones(matrix.shape, dtype=bool), 1), np.nan_to_num(np.abs(matrix)), -1.0)
    order = np.argsort(-upper, axis=None, kind="stable")[:TOP]

    def text(row: int) -> str:
        return "".join(texts[int(i)] for i in ids[row])[:400]

    clear, exact = None if checked.floor is None else checked.floor.clear, checked.first_order
    rows = []
    for at in order:
        i, j = divmod(int(at), matrix.shape[1])
        if upper[i, j] < 0 or not math.isfinite(matrix[i, j]):
            continue
        pair = InfluencePair(
            row_1=i,
            row_2=j,
            value=float(matrix[i, j]),
            std_error=as_finite(checked.errors.std_error[i, j]),
            effective_draws=as_finite(checked.errors.ess[i, j]),
            clear=None if clear is None else bool(clear[i, j]),
            first_order=None if exact is None else as_finite(exact[i, j]),
            data_1=owners[i],
            data_2=owners[j],
            text_1=text(i),
            text_2=text(j),
        )
        rows.append(pair)
    return tuple(rows)


def _median(values: NDArray[np.float64]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def _stated(floor: Floor | None) -> InfluenceFloor | None:
    if floor is None:
        return None
    return InfluenceFloor(standard_errors=floor.level, pairs=floor.pairs, clear_pairs=floor.clear_pairs)


def _uncertainty(values: BIFResult) -> dict[str, Uncertainty]:
    """Of the strongest pairs: `top_pairs.0.value`."""
    chains = len(values.healthy_chains)
    bars = {}
    for index, pair in enumerate(values.top_pairs):
        draws = pair.effective_draws
        over = f"{chains} {'chain' if chains == 1 else 'chains'}" + (f", {draws:.0f} effective draws" if draws is not None else "")
        note = "" if pair.std_error is not None else values.no_error or "too few effective draws for this pair"
        bars[f"top_pairs.{index}.value"] = Uncertainty(over, pair.std_error, clear=pair.clear, control=0.0, note=note)
    if values.top_pairs:
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
