"""How sure the influences of a run are: errors, the floor, agreement of two samplings, and their exact first order. Imports torch."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray

from ...estimators.bif import MEMORY_BUDGET
from ...estimators.bif_errors import Errors, Floor, agreement, errors, floor, half_matrices
from ...estimators.bif_traces import Traces, load_traces
from ...estimators.first_order import gram, scatter
from ...estimators.susceptibility_controls import of_full_length
from ...events import Event, Phase, Progress, Warned
from ...models.device import free_memory
from ...runtime.stream import stream
from .._sampling import run as sampling_run
from .._sampling.first_order import batches_of, in_float32, linear_of
from .._sampling.run import Sampled
from .params import Params

MOST_TOKENS = 2048
"""Tokens that the floor between tokens is taken over; of more, whole texts are taken evenly."""
Matrix = Float[NDArray[np.float64], "row row"]


@dataclass(frozen=True)
class CheckedPairs:
    """Of the matrix between texts. agreement: correlations over pairs of texts, see `agreements`."""

    errors: Errors
    floor: Floor | None
    tokens: Floor | None
    first_order: Matrix | None
    agreement: Mapping[str, float | None]
    traces: Traces


def between_errors(checked: CheckedPairs, owners: list[str]) -> dict[str, dict[str, float]]:
    """Standard errors of the mean influence between texts of either kind: that of the kinds' mean traces. NaN where it cannot be known."""
    kinds, of = list(dict.fromkeys(owners)), np.array(owners)
    z, runs, chains = checked.traces.z[:, 0], checked.traces.runs, len(checked.traces.healthy_chains)
    rows = [z[(of == kind) & np.isfinite(z[:, 0])] for kind in kinds]
    means = np.stack([some.mean(axis=0) if len(some) else np.full(z.shape[1], np.nan, z.dtype) for some in rows])
    std_errors = errors(means, runs, chains, correlation=False).std_error
    return {a: {b: float(std_errors[i, j]) for j, b in enumerate(kinds)} for i, a in enumerate(kinds)}


def check(done: Sampled, samples: xr.Dataset, observables: list[str], matrix: NDArray[np.float32]) -> Generator[Event, None, CheckedPairs]:
    """observables: identifiers in the order of the matrix's rows."""
    params = done.manifest.params
    assert isinstance(params, Params)
    yield Phase("checking", "errors and floor")
    correlation = params.method == "sequence" and not params.covariance
    traces = _traces(samples, observables, params, average=params.method == "token")
    z, chains = traces.z[:, 0], len(traces.healthy_chains)
    pair_errors = errors(z, traces.runs, chains, correlation=correlation)
    level = floor(z, traces.runs, np.arange(len(z)), keep=True)
    tokens, between_tokens = None, None
    if params.method == "token" and not params.average:
        tokens, between_tokens = _of_tokens(_traces(samples, observables, params, average=False))
    exact = yield from _first_order(done, observables, chains)
    agree = agreements(z, traces.runs, matrix, exact, correlation=correlation) | {"tokens": between_tokens}
    return CheckedPairs(pair_errors, level, tokens, exact, agree, traces)


def _traces(samples: xr.Dataset, observables: list[str], params: Params, *, average: bool) -> Traces:
    return load_traces(samples, observables, params.method, params.reduce, average, params.covariance, MEMORY_BUDGET // 2, None)


def _of_tokens(traces: Traces) -> tuple[Floor | None, float | None]:
    """The floor between tokens of different texts, and how far two samplings of this size would agree on them."""
    rows, series, count = traces.z.shape
    kept = np.unique(np.linspace(0, rows - 1, max(2, min(rows, MOST_TOKENS // series))).astype(int))
    owners = np.repeat(np.arange(len(kept)), series)
    z = np.ascontiguousarray(traces.z[kept]).reshape(-1, count)
    first, second = half_matrices(z, traces.runs, correlation=True)
    first[owners[:, None] == owners] = np.nan
    return floor(z, traces.runs, owners, keep=False), of_full_length(agreement(first, second))


def agreements(
    z: NDArray[np.float32], runs: int, matrix: NDArray[np.float32], exact: Matrix | None, *, correlation: bool
) -> dict[str, float | None]:
    """halves: of the influences from both halves of the chains; seeds: of two runs of this size, by Spearman-Brown; with_first_order.

    `check` adds tokens: as seeds, of the influences between tokens of different texts.
    """
    half = agreement(*half_matrices(z, runs, correlation=correlation)) if z.shape[1] // runs > 3 or runs > 1 else None
    return {
        "halves": half,
        "seeds": of_full_length(half),
        "with_first_order": None if exact is None else agreement(matrix.astype(np.float64), exact),
    }


def _first_order(done: Sampled, observables: list[str], chains: int) -> Generator[Event, None, Matrix | None]:
    """Cosines of the texts' gradients, which correlations tend to close to w0; their products times s for covariances."""
    params = done.manifest.params
    assert isinstance(params, Params)
    scale = scatter(done.config)
    if not params.first_order or scale is None:
        return None
    yield Phase("first order", "gradients of the texts")
    try:
        model = in_float32(done.model)
        problem = sampling_run.problem_of(done.manifest, model, done.rows, params.restriction)
        by_name = {observable.name: observable for observable in problem.observables}
        texts: list[Any] = [batch for obs in observables for batch in batches_of(problem, by_name[obs], 1)]
        budget = max(MEMORY_BUDGET, free_memory(problem.space.device) // 4)
        products: Matrix = yield from stream(
            lambda emit: gram(linear_of(problem), texts, budget, lambda at: emit(Progress(at, len(texts), "texts")))
        )
    except (RuntimeError, NotImplementedError) as error:
        yield Warned(f"first order is left out: {str(error).splitlines()[0][:200]}")
        return None
    if params.covariance:
        return products * scale / (chains if params.reduce == "mean" else 1)
    lengths = np.sqrt(np.diag(products))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(products / np.outer(lengths, lengths))
