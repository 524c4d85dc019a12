"""What a susceptibilities run leaves: the tree of responses, the strongest tokens, a report with a heatmap. Imports torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np

from ... import atomic
from ...catalog import Result
from ...data.names import obs_id
from ...errors import RunFailed
from ...estimators.observed import input_ids_of
from ...estimators.susceptibilities import Baseline, Response, assemble, baseline, probes_of, response
from ...events import ArrayWritten, Event, Metrics, Phase
from ...figures.heat import heatmap_svg
from ...markdown import code
from ...runtime.context import Context
from ...runtime.token_texts import write_tokens
from ...samplers.chains.store import digests, open_samples
from .._sampling.per_restriction import FULL, Part, Sampled, slug, store_path, whole_of
from .params import Params

TREE = "susceptibilities.zarr"
MOSTLY_SHIFT = 0.9
"""Share of the shift (see the estimator) from which parts differ in size more than in kind."""
TOP = 8
"""Tokens named for each part: those that respond most, whichever way."""


class Responses:
    """How each part responds, worked out as soon as it has been sampled, so that a view fills."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._params: Params = context.manifest.params
        self.names = {obs_id(name): name for name in self._params.observables}
        self.by_part: dict[str, Response] = {}
        self.base: Baseline | None = None
        self._waiting: list[tuple[int, Part]] = []
        """Parts sampled while another worker was still sampling the whole model."""

    def take(self, index: int, part: Part) -> Iterator[Event]:
        """Read the part's samples, once the whole model's are there: the others are compared with it."""
        if part.name != FULL:
            self._waiting.append((index, part))
        if self.base is None and (part.name == FULL or whole_of(self._context)):
            samples, sampling = open_samples(store_path(self._context, FULL)).dataset, obs_id(self._params.sampling_data)
            self.base = baseline(samples, sampling, sorted(probes_of(samples, sampling, None, self._params.include_sampling_data)))
        while self.base is not None and self._waiting:
            at, one = self._waiting.pop(0)
            found = self.by_part[one.name] = response(open_samples(store_path(self._context, one.name)).dataset, self.base)
            said = {what: self.by_name(found, what) for what in ("mean", "std_error")}
            yield Metrics("case", at - 1, {"restriction": one.name, "parameters": one.parameters, **said})

    def by_name(self, found: Response | None, what: str) -> dict[str, float | None]:
        """A part's numbers by data set. The sampling data's mean is 0 whatever was sampled: what is left of it is rounding."""
        assert self.base is not None
        probes, sampling = self.base.probes, self.base.sampling
        if found is None:
            return dict.fromkeys((self.names[obs] for obs in probes), None)
        return {self.names[obs]: 0.0 if obs == sampling else getattr(found, what)[obs] for obs in probes}


def result(context: Context, sampled: Sampled, responses: Responses) -> Generator[Event, None, Result]:
    """The tree, the report and result.json's numbers from the responses."""
    names, base, by_part = responses.names, responses.base, responses.by_part
    if base is None or not by_part:
        raise RunFailed("every restriction's chains failed", "lower lr, raise localization, or lower n_beta")
    yield Phase("writing", TREE)
    probes = list(base.probes)
    full = open_samples(store_path(context, FULL)).dataset
    parts = [part for part in sampled.parts if part.name != FULL]
    context_ids = {obs: input_ids_of(full, obs) for obs in probes}
    path = context.folder.path / TREE
    shutil.rmtree(path, ignore_errors=True)  # what an attempt that was cut short left
    tree = assemble({name: found.per_token for name, found in by_part.items()}, context_ids)
    for node in tree.subtree:  # numpy's own strings have no Zarr type
        if "wr" in node.coords:
            node["wr"] = node["wr"].astype(object)
    tree.to_zarr(path, mode="w", consolidated=False)
    texts = write_tokens(context.folder.path, sampled.model, context_ids.values())
    yield ArrayWritten(f"{TREE}/susceptibilities/sus", ("sus_flat", "wr"), tree["susceptibilities"]["sus"].shape)
    values: dict[str, Any] = {
        "restrictions": [part.name for part in parts],
        "observables": [names[obs] for obs in probes],
        "mean": {part.name: responses.by_name(by_part.get(part.name), "mean") for part in parts},
        "std_error": {part.name: responses.by_name(by_part.get(part.name), "std_error") for part in parts},
        "parameters": {part.name: part.parameters for part in sampled.parts},
        "shift_share": {name: found.shift_share if math.isfinite(found.shift_share) else None for name, found in by_part.items()},
        "rhat": {part.name: part.rhat for part in sampled.parts},
        "failed_chains": {part.name: part.failed for part in sampled.parts if part.failed},
        "top_tokens": {name: _top(found, names, context_ids, texts) for name, found in by_part.items()},
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
        said = ", ".join(f"`{code(token['token'], 40)}` {token['value']:+.2g}" for token in tokens[:5])
        lines.append(f"- {part}: {said}")
    shifted = [part for part, share in values["shift_share"].items() if share is not None and share > MOSTLY_SHIFT]
    if shifted:
        said = f"- {len(shifted)} of {len(values['restrictions'])} parts respond almost as one"
        lines += ["", f"{said}: the whole model's samples lie farther out than theirs; raise localization to see them apart"]
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
