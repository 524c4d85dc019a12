"""What a susceptibilities run leaves: the tree of responses, the strongest tokens, a report with a heatmap. Imports torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from .. import atomic
from ..catalog import Result
from ..errors import RunFailed
from ..estimators.observed import input_ids_of, obs_id
from ..estimators.susceptibilities import Response, assemble, baseline, probes_of, response
from ..events import ArrayWritten, Event, Metrics, Phase
from ..heat_figure import heatmap_svg
from ..samplers.store import digests, open_samples
from ._restrictions_run import FULL, Sampled, slug, store_path
from ._tokens import quoted, write_tokens
from .context import Context, Interrupted
from .susceptibilities import Params

TREE = "susceptibilities.zarr"
TOP = 8
"""Tokens named for each part: those that respond most, whichever way."""


def result(context: Context, sampled: Sampled) -> Generator[Event, None, Result]:
    """Responses from the stores; the tree, the report and result.json's numbers from the responses."""
    params: Params = context.manifest.params
    full = open_samples(store_path(context, FULL)).dataset
    yield Phase("estimating", "the whole model")
    probes = sorted(probes_of(full, obs_id(params.sampling_data), None, params.include_sampling_data))
    base = baseline(full, obs_id(params.sampling_data), probes)
    names = {obs_id(name): name for name in params.observables}
    parts = [part for part in sampled.parts if part.name != FULL]
    responses: dict[str, Response] = {}
    for index, part in enumerate(parts):
        if context.poll() == "stop":
            raise Interrupted
        if part.healthy:
            yield Phase("estimating", part.name)
            responses[part.name] = response(open_samples(store_path(context, part.name)).dataset, base)
            said = _by_name(responses[part.name], "mean", names, probes, base.sampling)
            yield Metrics("case", index, {"restriction": part.name, "parameters": part.parameters, "mean": said})
    if not responses:
        raise RunFailed("every restriction's chains failed", "lower lr, raise localization, or lower n_beta")
    context_ids = {obs: input_ids_of(full, obs) for obs in probes}
    path = context.folder.path / TREE
    shutil.rmtree(path, ignore_errors=True)  # what an attempt that was cut short left
    tree = assemble({name: found.per_token for name, found in responses.items()}, context_ids)
    for node in tree.subtree:  # numpy's own strings have no Zarr type
        if "wr" in node.coords:
            node["wr"] = node["wr"].astype(object)
    tree.to_zarr(path, mode="w", consolidated=False)
    texts = write_tokens(context.folder.path, sampled.model, context_ids.values())
    yield ArrayWritten(f"{TREE}/susceptibilities/sus", ("sus_flat", "wr"), tree["susceptibilities"]["sus"].shape)
    values: dict[str, Any] = {
        "restrictions": [part.name for part in parts],
        "observables": [names[obs] for obs in probes],
        "mean": {part.name: _by_name(responses.get(part.name), "mean", names, probes, base.sampling) for part in parts},
        "std_error": {part.name: _by_name(responses.get(part.name), "std_error", names, probes, base.sampling) for part in parts},
        "parameters": {part.name: part.parameters for part in sampled.parts},
        "rhat": {part.name: part.rhat for part in sampled.parts},
        "failed_chains": {part.name: part.failed for part in sampled.parts if part.failed},
        "top_tokens": {name: _top(found, names, context_ids, texts) for name, found in responses.items()},
        "init_loss": base.init_loss,
        "seconds": sampled.seconds,
    }
    _write_figure(context, values)
    found = {f"{TREE}/{key}": value for key, value in digests(path / "susceptibilities").items()}
    for part in sampled.parts:
        stored = digests(store_path(context, part.name))
        found |= {
            f"{slug(part.name)}/{key}": value for key, value in stored.items() if key.startswith(("loss_", "sampling_loss_micro", "init_"))
        }
    return Result(values, _headline(values), _report(context, values), found)


def _by_name(found: Response | None, what: str, names: Mapping[str, str], probes: list[str], sampling: str) -> dict[str, float | None]:
    """A part's numbers by data set. The sampling data's mean is 0 whatever was sampled: what is left of it is rounding."""
    if found is None:
        return dict.fromkeys((names[obs] for obs in probes), None)
    return {names[obs]: 0.0 if obs == sampling else getattr(found, what)[obs] for obs in probes}


def _top(found: Response, names: Mapping[str, str], ids: Mapping[str, Any], texts: Mapping[int, str]) -> list[dict[str, Any]]:
    """The tokens with the largest response: where they stand, what they say, and what came before them."""
    best: list[tuple[float, str, int, int]] = []
    for obs, chi in found.per_token.items():
        flat = np.abs(chi).ravel()
        for at in np.argsort(-flat, kind="stable")[:TOP]:
            row, position = divmod(int(at), chi.shape[1])
            best.append((float(chi[row, position]), obs, row, position))
    best.sort(key=lambda entry: -abs(entry[0]))
    return [
        {
            "observable": names[obs],
            "row": row,
            "position": position + 1,
            "token": texts[int(ids[obs][row, position + 1])],
            "before": "".join(texts[int(i)] for i in ids[obs][row, max(0, position - 5) : position + 1]),
            "value": value,
        }
        for value, obs, row, position in best[:TOP]
    ]


def _headline(values: Mapping[str, Any]) -> dict[str, Any]:
    """The largest mean response, and whose it is."""
    cells = [(value, part, data) for part, row in values["mean"].items() for data, value in row.items() if value is not None]
    value, part, data = max(cells, key=lambda cell: abs(cell[0]))
    return {"parts": len(values["restrictions"]), "strongest": f"{part} to {data}", "chi": value}


def _write_figure(context: Context, values: Mapping[str, Any]) -> None:
    figures = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    grid = [[values["mean"][part][data] for data in values["observables"]] for part in values["restrictions"]]
    title = f"Mean susceptibility: {context.manifest.name}"
    svg = heatmap_svg(title, values["restrictions"], values["observables"], grid, "nats² a token")
    atomic.write_text(figures / "susceptibilities.svg", svg)


def _report(context: Context, values: Mapping[str, Any]) -> str:
    manifest = context.manifest
    assert manifest.model is not None
    revision = f" at `{manifest.model.revision}`" if manifest.model.revision else ""
    data, sampling = values["observables"], manifest.params.sampling_data
    lines = [
        f"# susceptibilities · {manifest.name}",
        "",
        f"How parts of `{manifest.model.source}`{revision} respond to data, relative to `{sampling}`: mean over tokens, in nats², ± one "
        "standard error over chains. Negative: the data's loss moves with the part more than the sampling data's does."
        + (f" `{sampling}` itself is 0 on average, by definition; its tokens are not." if sampling in data else ""),
        "",
        f"| part | parameters | {' | '.join(data)} |",
        f"|---|---:|{'---:|' * len(data)}",
    ]
    for part in values["restrictions"]:
        cells = [_with_error(values["mean"][part][name], values["std_error"][part][name]) for name in data]
        lines.append(f"| {part} | {values['parameters'][part]:,} | {' | '.join(cells)} |")
    lines += ["", "![susceptibility of each part to each data set](figures/susceptibilities.svg)", "", "Tokens that respond most:", ""]
    for part, tokens in list(values["top_tokens"].items())[:40]:
        said = ", ".join(f"{quoted(token['token'], 40)} {token['value']:+.2g}" for token in tokens[:5])
        lines.append(f"- {part}: {said}")
    unmixed = [part for part, rhat in values["rhat"].items() if rhat is not None and rhat > 1.1]
    lines += ["", f"- R̂ above 1.1 in {', '.join(unmixed[:12])}: more draws or burn-in would settle them"] if unmixed else []
    lines += [
        f"- {part}: chain {chain} failed at {why}; left out"
        for part, failed in values["failed_chains"].items()
        for chain, why in failed.items()
    ]
    lines += ["", "Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3g}" if error is None or not math.isfinite(error) else f"{value:.3g} ± {error:.1g}"
