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
from ...events import ArrayWritten, Event, Metrics, Phase, Progress, Warned
from ...figures.heat import heatmap_svg
from ...markdown import code
from ...runtime.context import Context
from ...runtime.pause import wait_while_paused
from ...runtime.stream import stream
from ...runtime.token_texts import write_tokens
from ...samplers.chains.store import digests, open_samples
from .._sampling.run import STORE, Sampled
from .params import Params

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
    found = yield from stream(lambda emit: _influences(context, samples, params, emit))
    yield ArrayWritten(INFLUENCES, tuple(map(str, found["influences"].dims)), found["influences"].shape)
    if found.attrs["constant_count"]:
        yield Warned(f"{found.attrs['constant_count']} losses never vary, so nothing moves with them: null")
    matrix = _matrix(context, samples, params, found)
    yield ArrayWritten(MATRIX, ("batch_1", "batch_2"), matrix.shape)
    names = {obs_id(name): name for name in params.observables}
    ids = np.asarray(found["input_ids"].values)
    texts = write_tokens(context.folder.path, done.model, [ids])
    owners = [names[obs] for obs, rows in zip(found.attrs["observables"], found.attrs["rows"], strict=True) for _ in range(rows)]
    pairs = _top_pairs(matrix, owners, ids, texts)
    values: dict[str, Any] = {
        "shape": list(found["influences"].shape),
        "method": params.method,
        "covariance": params.covariance,
        "observables": [names[obs] for obs in found.attrs["observables"]],
        "rows": list(found.attrs["rows"]),
        "between": _between(matrix, owners),
        "top_pairs": pairs,
        "constant": found.attrs["constant"],
        "constant_count": found.attrs["constant_count"],
        "healthy_chains": found.attrs["healthy_chains"],
        "failed_chains": {str(c.chain): f"step {c.failed_step}: {c.failed_reason}" for c in done.chains.snapshot.chains if not c.healthy},
        "seconds": done.seconds,
    }
    _write_figure(context, matrix, owners, params.covariance)
    headline: dict[str, Any] = {"sequences": len(owners)}
    if pairs:
        headline |= {"strongest": f"{pairs[0]['row_1']} with {pairs[0]['row_2']}", "influence": pairs[0]["value"]}
    yield Metrics("headline", 0, headline)
    found_digests = {f"{name}/{key}": value for name in (INFLUENCES, MATRIX) for key, value in digests(context.folder.path / name).items()}
    return Result(values, headline, _report(done, values), found_digests | digests(context.folder.path / STORE))


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


def _matrix(context: Context, samples: xr.DataTree, params: Params, found: xr.Dataset) -> Matrix:
    """Influence between whole sequences: what was asked for, or its mean over pairs of tokens."""
    if found["influences"].ndim == 2:
        matrix = np.asarray(found["influences"].values)
    else:
        average = compute_bif(
            samples,
            correlation_method="token",
            reduce_chain_dimension_method=params.reduce,
            average_tokenwise_bif=True,
            compute_covariance=params.covariance,
        )
        matrix = np.asarray(average["influences"].values)
    path = context.folder.path / MATRIX
    shutil.rmtree(path, ignore_errors=True)
    xr.Dataset({"influences": (("batch_1", "batch_2"), matrix)}).to_zarr(path, mode="w", consolidated=False)
    return matrix


def _top_pairs(matrix: Matrix, owners: list[str], ids: NDArray[np.int64], texts: Mapping[int, str]) -> list[dict[str, Any]]:
    """Pairs of different sequences with the largest influence, whichever its sign, each once."""
    upper = np.where(np.triu(np.ones(matrix.shape, dtype=bool), 1), np.nan_to_num(np.abs(matrix)), -1.0)
    order = np.argsort(-upper, axis=None, kind="stable")[:TOP]

    def said(row: int) -> str:
        return "".join(texts[int(i)] for i in ids[row])[:400]

    found = []
    for at in order:
        one, two = divmod(int(at), matrix.shape[1])
        if upper[one, two] >= 0 and math.isfinite(matrix[one, two]):
            entry = {"row_1": one, "row_2": two, "value": float(matrix[one, two])}
            found.append({**entry, "data_1": owners[one], "data_2": owners[two], "text_1": said(one), "text_2": said(two)})
    return found


def _between(matrix: Matrix, owners: list[str]) -> dict[str, dict[str, float | None]]:
    """Mean influence between sequences of either kind of data, a sequence's own left out."""
    kinds, of = list(dict.fromkeys(owners)), np.array(owners)
    off = ~np.eye(len(owners), dtype=bool)
    found: dict[str, dict[str, float | None]] = {}
    for a in kinds:
        found[a] = {}
        for b in kinds:
            cells = matrix[np.outer(of == a, of == b) & off]
            cells = cells[np.isfinite(cells)]
            found[a][b] = float(cells.mean(dtype=np.float64)) if cells.size else None
    return found


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


def _report(done: Sampled, values: Mapping[str, Any]) -> str:
    manifest = done.manifest
    assert manifest.model is not None
    kinds = values["observables"]
    unit = "covariance in nats²" if values["covariance"] else "correlation"
    lines = [
        f"# bif · {manifest.name}",
        "",
        f"How losses move together over {len(values['healthy_chains'])} × {done.config.num_draws} draws around `{manifest.model.source}`: "
        f"{unit} between {sum(values['rows'])} sequences, mean over pairs.",
        "",
        f"| | {' | '.join(kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
        *(f"| {a} | {' | '.join(_number(values['between'][a][b]) for b in kinds)} |" for a in kinds),
        "",
        "![influence between sequences](figures/influence.svg)",
        "",
        "Pairs that move together, or against each other, most:",
        "",
    ]
    for pair in values["top_pairs"][:12]:
        said = [f"{pair[f'data_{n}']} {pair[f'row_{n}']} `{code(pair[f'text_{n}'], 70)}`" for n in (1, 2)]
        lines.append(f"- {pair['value']:+.3f}  {', '.join(said)}")
    if values["constant_count"]:
        lines += ["", f"- {values['constant_count']} losses never vary over the draws: their influences are null"]
    lines += [f"- chain {chain} failed at {why}; left out" for chain, why in values["failed_chains"].items()]
    lines += ["", "Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
