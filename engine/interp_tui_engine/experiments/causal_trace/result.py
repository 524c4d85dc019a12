"""What a causal trace leaves behind: result.json, arrays, figures and a report. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...catalog import Result
from ...circuits.ratio import Ratio, largest
from ...events import Event
from ...figures.heat import heatmap_svg
from ...markdown import code
from ...numbers import finite, short
from ...patching import reach_report
from ...patching.pooling import ROLES, Pooled, by_role, pool, role
from ...patching.reach_report import Reaches
from ...patching.recovery import HEADS, GridCell, recovery
from ...payload import LEFT_OUT, Grid
from ...results.causal_trace import CausalTraceHeadline, CausalTraceResult, GridInterval, Peak, PeakHeldOut, TopHead
from ...runtime.context import Context
from ...runtime.steps import digests, write_arrays, write_figure
from ...uncertainty import Uncertainty, none_known
from .params import Params

STORE = "trace.zarr"
"""The name under which recoveries of single heads stand."""


@dataclass(frozen=True)
class Traced:
    """All that was measured: the patched metric of each cell of each pair."""

    params: Params
    records: Sequence[dict[str, Any]]
    names: tuple[str, ...]
    tokens: Sequence[Sequence[str]]
    corrupt_tokens: Sequence[Sequence[str]]
    firsts: Sequence[int]
    ends: Sequence[int]
    layers: int
    head_count: int
    cells: Sequence[tuple[int, GridCell]]
    clean: NDArray[np.float32]
    corrupt: NDArray[np.float32]
    patched: NDArray[np.float32]
    reaches: Reaches
    seed: int
    seconds: float


SUBJECT_FROM = 0.2
"""Share of the metric that a place before the last must restore to be named as where the fact is read from."""
NEARLY = 0.95
"""Of the last position's greatest recovery: where it is first reached, the answer has arrived."""


def handover(recovery: Mapping[str, Sequence[Sequence[float | None]]], tokens: Sequence[str]) -> str:
    """Where the answer is read from and where it arrives, by the residual stream: `France L0 0.85 → is L2 1.00`.

    The first place is the earliest of the greatest recovery before the last token, the second the first layer at which the last token
    restores nearly all that it ever does. Empty where no residual stream was traced, or nothing restores anything.
    """
    site = next((name for name in ("resid_post", "resid_pre", "resid_mid") if name in recovery), None)
    if site is None or not tokens:
        return ""
    last = len(tokens) - 1
    grid = [[-math.inf if value is None or not math.isfinite(value) else value for value in row] for row in recovery[site]]
    places = [(value, layer, position) for layer, row in enumerate(grid) for position, value in enumerate(row[: last + 1])]
    before = max((place for place in places if place[2] != last), key=lambda place: (round(place[0], 2), -place[1]), default=None)
    most = max((value for value, _, position in places if position == last), default=-math.inf)
    arrived = next((place for place in places if place[2] == last and place[0] >= NEARLY * most), None)
    stops = [before] if before is not None and before[0] >= SUBJECT_FROM else []
    stops += [arrived] if arrived is not None and most >= SUBJECT_FROM else []
    return " → ".join(f"{tokens[position].strip() or repr(tokens[position])} L{layer} {value:.2f}" for value, layer, position in stops)


def result_of(context: Context, traced: Traced) -> Generator[Event, None, Result]:
    """Write arrays and figures, and return the result."""
    length = max(traced.ends) + 1
    pairs = len(traced.records)
    shape = (pairs, traced.layers, length)
    grids = {name: np.full(shape, np.nan, np.float32) for name in traced.names}
    if traced.head_count:
        grids[HEADS] = np.full((*shape, traced.head_count), np.nan, np.float32)
    for pair in range(pairs):
        for grid in grids.values():
            grid[pair, :, : traced.firsts[pair]] = traced.corrupt[pair]  # before the corruption the patch puts back what is there
    for (pair, cell), value in zip(traced.cells, traced.patched, strict=True):
        name, at = cell.place
        grids[name][(pair, *at)] = value

    aligned, columns = _columns(traced)
    effects = (traced.clean - traced.corrupt).astype(float)
    recovery(0.0, float(traced.clean.mean()), float(traced.corrupt.mean()))
    gains = {name: _gains(grid, traced, aligned) for name, grid in grids.items()}
    pooled = {name: _pooled(grid, traced, effects) for name, grid in gains.items()}

    dims = ("pair", "layer", "position")
    arrays = {f"patched_{name}": ((*dims, "head") if name == HEADS else dims, grid) for name, grid in grids.items()} | {
        "clean_metric": (("pair",), traced.clean),
        "corrupt_metric": (("pair",), traced.corrupt),
    }
    attrs = {"kind": "causal_trace", "metric": traced.params.metric, "tokens": [list(row) for row in traced.tokens]}
    yield from write_arrays(context.folder.path, STORE, arrays, attrs)

    layers = [f"L{layer}" for layer in range(traced.layers)]
    for name in traced.names:
        svg = heatmap_svg(f"recovery by {name}", layers, [clean_name(c) for c in columns], finite(_grid(pooled[name].mean)), "recovery")
        yield write_figure(context.folder.path, name, svg, f"recovery by {name}")

    peak = _peak(pooled, traced.names, columns)
    chosen = _held_out_peak(gains, effects, traced, columns)
    clean_metric, corrupt_metric = float(traced.clean.mean()), float(traced.corrupt.mean())
    grids_of_sites = {name: _grid(pooled[name].mean) for name in traced.names}
    heads, several = bool(traced.head_count), pairs > 1
    values = CausalTraceResult(
        tokens=tuple(columns),
        corrupt_tokens=tuple(traced.corrupt_tokens[0]) if aligned else None,
        layers=tuple(range(traced.layers)),
        metric=traced.params.metric,
        clean_metric=clean_metric,
        corrupt_metric=corrupt_metric,
        recovery=grids_of_sites,
        peak=peak,
        peak_held_out=None if chosen is None else PeakHeldOut(recovery=chosen[0].value, cells=tuple(chosen[1])),
        pairs=pairs,
        reach=traced.reaches.stated(),
        recovery_heads=tuple(_grid(layer) for layer in pooled[HEADS].mean) if heads else LEFT_OUT,
        top_heads=_top_heads(pooled[HEADS].mean, columns) if heads else LEFT_OUT,
        interval={n: GridInterval(low=_grid(pooled[n].low), high=_grid(pooled[n].high)) for n in traced.names} if several else LEFT_OUT,
        seconds=traced.seconds,
    )
    headline = CausalTraceHeadline(
        clean_metric=clean_metric,
        corrupt_metric=corrupt_metric,
        peak=f"{peak.site} L{peak.layer} {peak.token!r}",
        recovery=peak.recovery,
        verdict=reach_report.verdict(traced.reaches) or LEFT_OUT,
        answer=handover(grids_of_sites, columns) or LEFT_OUT,
    )
    clear = traced.reaches.clear
    bar = (
        Uncertainty(clear=clear, note="one pair")
        if chosen is None
        else chosen[0].uncertainty(f"{pairs} pairs, the cell chosen on other pairs", clear=chosen[0].clear_of(0.0, clear))
    )
    exact = none_known("exact for these prompts")
    uncertainty = {"peak.recovery": bar, "reach.mean": traced.reaches.uncertainty(), "clean_metric": exact, "corrupt_metric": exact}
    report = _report(traced, values, columns, layers)
    return Result(finite(values.as_json()), headline.as_json(), report, digests(STORE, arrays), uncertainty)


def _columns(traced: Traced) -> tuple[bool, list[str]]:
    """Whether positions mean the same in every pair, and what the grid's columns are called."""
    same = len({(first, end, len(row)) for first, end, row in zip(traced.firsts, traced.ends, traced.tokens, strict=True)}) == 1
    if not same:
        return False, list(ROLES)
    rows = [row[: traced.ends[0] + 1] for row in traced.tokens]
    return True, [column[0] if len(set(column)) == 1 else f"[{place}]" for place, column in enumerate(zip(*rows, strict=True))]


def _gains(grid: NDArray[np.float32], traced: Traced, aligned: bool) -> NDArray[np.float64]:
    """patched − corrupt of every pair, (pairs, layers, columns[, heads]); NaN where a pair has no such cell."""
    gains: NDArray[np.float64] = grid.astype(float) - traced.corrupt.astype(float).reshape(-1, *([1] * (grid.ndim - 1)))
    if aligned:
        return gains
    roles = [_roles(traced, pair) for pair in range(len(gains))]
    return np.moveaxis(by_role(np.moveaxis(gains, 2, -1), roles).astype(float), -1, 2)


def _prompts(traced: Traced) -> list[tuple[str, str]]:
    """Both prompts of each pair; noise has none beside the clean one."""
    return [(str(record["clean"]), str(record.get("corrupt") or f"noise on pair {pair}")) for pair, record in enumerate(traced.records)]


def _pooled(gains: NDArray[np.float64], traced: Traced, effects: NDArray[np.float64]) -> Pooled:
    parts = pool(gains.reshape(len(effects), -1), effects, resamples=traced.params.resamples, seed=traced.seed, prompts=_prompts(traced))
    return Pooled(*(part.reshape(gains.shape[1:]) for part in parts))


def _held_out_peak(
    gains: dict[str, NDArray[np.float64]], effects: NDArray[np.float64], traced: Traced, columns: Sequence[str]
) -> tuple[Ratio, list[str]] | None:
    """The recovery of the cell that restores most, chosen on one half of the pairs and measured on the other; None for one pair."""
    flat, names = [], []
    for name in traced.names:
        grid = gains[name]
        left_out = name.startswith("resid") and np.nanmax(np.abs(grid[..., :-1]), initial=0.0) > 0
        for layer, position in np.ndindex(grid.shape[1:]):
            if not (left_out and position == grid.shape[2] - 1):
                flat.append(grid[:, layer, position])
                names.append(f"{name} L{layer} {columns[position]!r}")
    chosen = largest(np.stack(flat, axis=1), effects, traced.seed, signed=True, prompts=_prompts(traced))
    return None if chosen is None else (chosen.share, [names[cell] for cell in chosen.cells])


def _roles(traced: Traced, pair: int) -> list[str]:
    both = zip(traced.tokens[pair], traced.corrupt_tokens[pair], strict=True)
    changed = [place for place, (a, b) in enumerate(both) if a != b] or [traced.firsts[pair]]
    first, last, end = traced.firsts[pair], changed[-1], traced.ends[pair]
    return ["" if place < first else role(place, first, last, end) for place in range(end + 1)]


def _peak(pooled: dict[str, Pooled], names: Sequence[str], columns: Sequence[str]) -> Peak:
    """The cell that restores most, single heads apart.

    The residual stream at the last position is left out where there are others: at the last layer it restores everything in every model.
    """
    best: tuple[float, str, int, int] | None = None
    for name in names:
        mean = pooled[name].mean.astype(float).copy()
        if name.startswith("resid") and np.nanmax(np.abs(mean[:, :-1]), initial=0.0) > 0:
            mean[:, -1] = np.nan
        for layer, position in np.ndindex(mean.shape):
            value = float(mean[layer, position])
            if np.isfinite(value) and (best is None or value > best[0]):
                best = (value, name, layer, position)
    assert best is not None
    return Peak(site=best[1], layer=best[2], position=best[3], token=columns[best[3]], recovery=best[0])


def _top_heads(mean: NDArray[np.floating[Any]], columns: Sequence[str], count: int = 10) -> tuple[TopHead, ...]:
    order = np.argsort(-np.abs(np.nan_to_num(mean)), axis=None)[:count]
    strongest = []
    for layer, position, head in zip(*np.unravel_index(order, mean.shape), strict=True):
        value = float(mean[layer, position, head])
        strongest.append(TopHead(head=f"L{layer}H{head}", position=int(position), token=columns[position], recovery=value))
    return tuple(strongest)


def _grid(values: NDArray[np.floating[Any]]) -> Grid:
    """(rows, columns) as plain numbers."""
    return tuple(tuple(row) for row in values.astype(float).tolist())


def _report(traced: Traced, values: CausalTraceResult, columns: Sequence[str], layers: Sequence[str]) -> str:
    params, peak = traced.params, values.peak
    first, pairs = traced.records[0], len(traced.records)
    clean = "".join(traced.tokens[0])
    other = (
        "the same with noise on its subject"
        if params.corruption == "noise"
        else f"`{code(first['corrupt'])}` → `{code(first.get('counterfactual') or '?')}`"
    )
    where = f"{peak.site} of layer {peak.layer} at `{code(peak.token)}`"
    lines = [
        f"# Causal trace: {pairs} pairs" if pairs > 1 else "# Causal trace",
        "",
        f"- clean `{code(clean)}` → `{code(first['answer'])}`: {params.metric} {short(values.clean_metric, 4)}",
        f"- corrupt {other}: {params.metric} {short(values.corrupt_metric, 4)}",
        f"- the patch that restores most: **{where}, recovery {peak.recovery:.3f}**",
        *_chosen(values.peak_held_out),
        "",
        *reach_report.lines(traced.reaches),
        "",
        "Recovery is 1 where a patch restores the clean metric, 0 where it does nothing.",
    ]
    if params.window > 1:
        after = (params.window + 1) // 2 - 1
        lines.append(f"Windows of {params.window} layers: l − {params.window // 2} … l{f' + {after}' if after else ''}, cut at the ends.")
    if pairs > 1:
        lines.append(f"Means over {pairs} pairs; 95 % intervals over pairs are in result.json.")
    for name in traced.names:
        lines += ["", f"## {name}", "", f"![recovery by {name}](figures/{name}.svg)", ""]
        lines += ["| layer | " + " | ".join(f"`{code(column)}`" for column in columns) + " |", "|---|" + "---:|" * len(columns)]
        lines += [
            f"| {layer} | " + " | ".join("–" if v is None or v != v else f"{v:.3f}" for v in row) + " |"
            for layer, row in zip(layers, values.recovery[name], strict=True)
        ]
    if values.top_heads:
        lines += ["", "## heads that restore or harm most", "", "| head | at | recovery |", "|---|---|---:|"]
        lines += [f"| {head.head} | `{code(head.token)}` | {head.recovery:+.3f} |" for head in values.top_heads]
    return "\n".join([*lines, ""])


def _chosen(held_out: PeakHeldOut | None) -> list[str]:
    """The recovery of the peak where it was not chosen."""
    if held_out is None:
        return ["- how far that holds for other pairs is not known: one pair"]
    cells = " and ".join(f"`{code(cell)}`" for cell in dict.fromkeys(held_out.cells))
    return [f"- chosen on one half of the pairs and measured on the other: recovery **{held_out.recovery:.3f}** ({cells})"]


def clean_name(token: str) -> str:
    """A token as a label that XML can hold."""
    return "".join(c if c.isprintable() else "·" for c in token)[:12]
