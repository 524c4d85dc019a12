"""What a susceptibilities run leaves: the tree of responses, the strongest tokens, a report with a heatmap. Imports torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ... import atomic
from ...catalog import Result
from ...errors import RunFailed
from ...estimators.observed import input_ids_of
from ...estimators.susceptibilities import PerToken, Response
from ...estimators.susceptibility_tree import assemble
from ...events import ArrayWritten, Event, Phase, Warned
from ...figures.heat import heatmap_svg
from ...payload import LEFT_OUT
from ...results.susceptibilities import ByPart, SusceptibilitiesHeadline, SusceptibilitiesResult, TopToken
from ...runtime.context import Context
from ...runtime.token_texts import write_tokens
from ...samplers.chains.store import digests, open_samples
from ...uncertainty import Uncertainty, none_known
from .._sampling.per_restriction import FULL, SampledParts, slug, store_path
from .certainty import clear_of, controls_of, exact_of, reasons_of, uncertainties
from .checks import CheckedParts, agreements, check_parts
from .report import NAMES, report
from .responses import Responses

TREE = "susceptibilities.zarr"
TOP = 8
"""Tokens named for each part: those that respond most, whichever way."""


def result(context: Context, sampled: SampledParts, responses: Responses) -> Generator[Event, None, Result]:
    """The tree, the report and result.json's numbers from the responses."""
    names, base, by_part, shown = responses.names, responses.base, responses.by_part, responses.shown
    if base is None or not by_part:
        raise RunFailed("every restriction's chains failed", "lower lr, raise localization, or lower n_beta")
    checked = yield from check_parts(context, sampled, by_part, base.sampling, shown)
    yield Phase("writing", TREE)
    full = open_samples(store_path(context, FULL)).dataset
    parts = [part for part in sampled.parts if part.name != FULL]
    context_ids = {obs: input_ids_of(full, obs) for obs in shown}
    tree = _write_tree(context, by_part, checked, context_ids)
    texts = write_tokens(context.folder.path, sampled.model, context_ids.values())
    yield ArrayWritten(f"{TREE}/susceptibilities/sus", ("sus_flat", "wr"), tree["susceptibilities"]["sus"].shape)
    ranked = context.manifest.params.rank_by
    if ranked == "first_order" and not any(exact_of(part_checks, shown) for part_checks in checked.values()):
        ranked = "covariance"
        yield Warned("there is no first order to rank by: no localization bounds the weights, or it could not be computed")

    def means(table: str) -> ByPart:
        return {part.name: responses.by_name(by_part.get(part.name), table) for part in parts}

    def errors(table: str) -> ByPart:
        return {part.name: responses.errors_by_name(by_part.get(part.name), table) for part in parts}

    values = SusceptibilitiesResult(
        restrictions=tuple(part.name for part in parts),
        observables=tuple(names[obs] for obs in shown),
        mean=means("mean"),
        covariance=means("covariance"),
        shift=means("shift"),
        std_error=errors("mean"),
        covariance_std_error=errors("covariance"),
        shift_std_error=errors("shift"),
        first_order={part.name: _means(exact_of(checked.get(part.name), shown), names, shown, base.sampling) for part in parts},
        control={name: controls_of(checked, names, shown, name) for name in ("covariance", "shift", "first_order")},
        clear=clear_of(responses, checked, names),
        agreement=agreements(by_part, checked, shown),
        ranked_by=ranked,
        scatter=next((part_checks.first_order.scatter for part_checks in checked.values() if part_checks.first_order is not None), None),
        parameters={part.name: part.parameters for part in sampled.parts},
        shift_share={name: answer.shift_share if math.isfinite(answer.shift_share) else None for name, answer in by_part.items()},
        no_error=reasons_of(responses),
        rhat={part.name: part.rhat for part in sampled.parts},
        failed_chains={part.name: part.failed for part in sampled.parts if part.failed},
        top_tokens={name: _top(answer, checked[name], ranked, responses, context_ids, texts) for name, answer in by_part.items()},
        init_loss=base.init_loss,
        paired=base.paired,
        seconds=sampled.seconds,
    )
    _write_figure(context, values)
    bars = _with_headline(uncertainties(responses, values), values)
    return Result(values.as_json(), _headline(values).as_json(), report(context.manifest, values), _digests(context, sampled), bars)


def _write_tree(
    context: Context, by_part: Mapping[str, Response], checked: Mapping[str, CheckedParts], ids: Mapping[str, Any]
) -> xr.DataTree:
    """chi as devinterp lays it out, and beside it the covariance, its error, and the first order, each (sus_flat, wr)."""
    path = context.folder.path / TREE
    shutil.rmtree(path, ignore_errors=True)  # what an attempt that was cut short left
    tree = assemble({name: answer.per_token for name, answer in by_part.items()}, ids)
    node = tree["susceptibilities"]
    columns: dict[str, list[Mapping[str, PerToken | None] | None]] = {
        "covariance": [{obs: answer.covariance[obs].value for obs in ids} for answer in by_part.values()],
        "covariance_std_error": [{obs: answer.covariance[obs].std_error for obs in ids} for answer in by_part.values()],
        "first_order": [exact_of(checked[name], list(ids)) for name in by_part],
    }
    flat = {name: [np.concatenate([_flat(c, obs, ids) for obs in sorted(ids)]) for c in of_parts] for name, of_parts in columns.items()}
    arrays = {name: (("sus_flat", "wr"), np.stack(of_parts, axis=-1).astype(np.float32)) for name, of_parts in flat.items()}
    node.dataset = node.to_dataset().assign(arrays)
    for group in tree.subtree:  # numpy's own strings have no Zarr type
        if "wr" in group.coords:
            group["wr"] = group["wr"].astype(object)
    tree.to_zarr(path, mode="w", consolidated=False)
    return tree


def _flat(column: Mapping[str, PerToken | None] | None, obs: str, ids: Mapping[str, Any]) -> PerToken:
    values = None if column is None else column[obs]
    rows, tokens = ids[obs].shape
    return np.full(rows * (tokens - 1), np.nan) if values is None else values.ravel()


def _means(values: Mapping[str, PerToken] | None, names: Mapping[str, str], shown: list[str], sampling: str) -> dict[str, float | None]:
    return {names[obs]: None if values is None else 0.0 if obs == sampling else float(values[obs].mean()) for obs in shown}


def _digests(context: Context, sampled: SampledParts) -> dict[str, str]:
    digest_of = {f"{TREE}/{key}": value for key, value in digests(context.folder.path / TREE / "susceptibilities").items()}
    for part in sampled.parts:
        stored = digests(store_path(context, part.name))
        kept = {key: value for key, value in stored.items() if key.startswith(("loss_", "sampling_loss_micro", "init_"))}
        digest_of |= {f"{slug(part.name)}/{key}": value for key, value in kept.items()}
    return digest_of


def _ranking(answer: Response, checked: CheckedParts, ranked: str, shown: list[str]) -> Mapping[str, PerToken]:
    if ranked == "first_order" and (exact := exact_of(checked, shown)) is not None:
        return exact
    if ranked == "susceptibility":
        return {obs: answer.per_token[obs] for obs in shown}
    return {obs: answer.covariance[obs].value for obs in shown}


def _top(
    answer: Response, checked: CheckedParts, ranked: str, responses: Responses, ids: Mapping[str, Any], texts: Mapping[int, str]
) -> tuple[TopToken, ...]:
    """The tokens with the largest response: where they stand, what they say, what came before them, and the response's other measures.

    clear: of the floor that covariances with another chain's phi set; None for a ranking by first order, which has no noise.
    """
    best: list[tuple[float, str, int, int]] = []
    for obs, chi in _ranking(answer, checked, ranked, responses.shown).items():
        flat = np.abs(chi).ravel()
        for at in np.argsort(-flat, kind="stable")[:TOP]:
            row, position = divmod(int(at), chi.shape[1])
            best.append((float(chi[row, position]), obs, row, position))
    best.sort(key=lambda entry: -abs(entry[0]))
    exact = exact_of(checked, responses.shown)
    rows = []
    for value, obs, row, position in best[:TOP]:
        error = answer.covariance[obs].std_error
        size = abs(float(checked.errors[obs][row, position]))
        rows.append(
            TopToken(
                observable=responses.names[obs],
                row=row,
                position=position + 1,
                token=texts[int(ids[obs][row, position + 1])],
                before="".join(texts[int(i)] for i in ids[obs][row, max(0, position - 5) : position + 1]),
                value=value,
                std_error=None if error is None or ranked == "first_order" else float(error[row, position]),
                covariance=float(answer.covariance[obs].value[row, position]),
                first_order=None if exact is None else float(exact[obs][row, position]),
                clear=None if ranked == "first_order" or not math.isfinite(size) else size > checked.floor,
            )
        )
    return tuple(rows)


def _strongest(values: SusceptibilitiesResult) -> tuple[str, str, str, float]:
    """The largest mean of the quantity ranked by: the quantity, whose it is (part and data), and its value."""
    table = {"susceptibility": "mean"}.get(values.ranked_by, values.ranked_by)
    cells = [(value, part, data) for part, row in values.means(table).items() for data, value in row.items() if value is not None]
    value, part, data = max(cells, key=lambda cell: abs(cell[0]))
    return table, part, data, value


def _headline(values: SusceptibilitiesResult) -> SusceptibilitiesHeadline:
    table, part, data, value = _strongest(values)
    error = values.errors(table).get(part, {}).get(data)

    def where(name: str, number: float | None) -> float:
        """The number if it is of that table."""
        return number if table == name and number is not None else LEFT_OUT

    return SusceptibilitiesHeadline(
        parts=len(values.restrictions),
        strongest=f"{part} to {data}",
        mean_mean=where("mean", value),
        mean_std_error=where("mean", error),
        covariance_mean=where("covariance", value),
        covariance_std_error=where("covariance", error),
        first_order_mean=where("first_order", value),
    )


def _with_headline(bars: dict[str, Uncertainty], values: SusceptibilitiesResult) -> dict[str, Uncertainty]:
    """The bars, and the headline's: that of its cell; a first order is exact for the rows it was taken on."""
    table, part, data, _ = _strongest(values)
    exact = Uncertainty(clear=values.clear.get(table, {}).get(part, {}).get(data), note="exact for these rows")
    return bars | {f"{table}_mean": exact if table == "first_order" else bars.get(f"{table}.{part}.{data}", none_known("it never varies"))}


def _write_figure(context: Context, values: SusceptibilitiesResult) -> None:
    figures = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    table = {"susceptibility": "mean"}.get(values.ranked_by, values.ranked_by)
    grid = [[values.means(table)[part][data] for data in values.observables] for part in values.restrictions]
    title = f"{NAMES[table]}: {context.manifest.name}"
    svg = heatmap_svg(title, values.restrictions, values.observables, grid, "nats² a token")
    atomic.write_text(figures / "susceptibilities.svg", svg)
