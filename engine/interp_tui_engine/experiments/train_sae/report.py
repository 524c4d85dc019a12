"""What a finished train_sae run leaves: dictionaries as files, how often each latent fires, numbers and a report. Imports torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...dictionaries import sae_lens
from ...dictionaries.dictionary import Dictionary
from ...dictionaries.evaluation import HIGHEST, LOWEST, Quality, evaluate, loss_recovered, rate_histogram
from ...figures.lines import Curve, lines_svg
from ...runtime.context import Context
from .params import Params, Variant
from .source import Source
from .training import Trained

BATCH = 4096
DEAD_AMONG = 262_144
"""Most activations over which a latent must fire once to count as alive at the end."""
LATENTS = "latents.zarr"
SAE = "sae"


def finish(context: Context, params: Params, source: Source, chosen: list[Variant], trained: Trained) -> tuple[Result, list[str]]:
    """Measure on what was held out, write everything; returns the result and the folders written."""
    folder = context.folder.path
    rates: dict[str, Any] = {}
    digests: dict[str, str] = {}
    entries, written, histograms = [], [], []
    for variant, learner in zip(chosen, trained.learners, strict=True):
        weights = learner.weights.map(torch.Tensor.detach).scaled(trained.scale)
        dictionary = Dictionary(learner.architecture, weights, _about(context, params, source, variant, trained))
        place = SAE if len(chosen) == 1 else f"{SAE}/{variant.name}"
        quality = evaluate(dictionary.architecture, dictionary.weights, torch.split(source.held_out, BATCH))
        seen = evaluate(dictionary.architecture, dictionary.weights, torch.split(source.stream.rows[:DEAD_AMONG], BATCH))
        fired, tokens = seen.fired + quality.fired, seen.tokens + quality.tokens
        sae_lens.save(dictionary, folder / place)
        rates["/" if len(chosen) == 1 else variant.name] = _rates(fired, tokens)
        digests |= {f"{place}/{name}": _digest(tensor) for name, tensor in weights.named().items()}
        digests[f"{place}/firing_rate"] = _digest(fired)
        entries.append(_entry(variant, quality, fired, tokens, source, dictionary, place))
        histograms.append((variant.name, fired, tokens))
        written.append(place)
    xr.DataTree.from_dict(rates).to_zarr(folder / LATENTS, mode="w", consolidated=False)
    shared = {
        "steps": trained.steps,
        "tokens": trained.steps * params.batch_size,
        "tokens_per_second": trained.steps * params.batch_size / trained.seconds if trained.seconds > 0 else None,
        "distinct_tokens": source.tokens,
        "width": source.width,
        "norm_scale": trained.scale,
        "training_seconds": trained.seconds,
    }
    first = {key: value for key, value in entries[0].items() if key != "name"}
    values = {**first, **shared} if len(chosen) == 1 else {**first, "sae": SAE, "saes": entries, **shared}
    headline = {key: entries[0][key] for key in ("fvu", "l0", "dead_fraction", "ce_loss_recovered") if entries[0].get(key) is not None}
    _figures(context, chosen, trained, histograms)
    return Result(values, headline, _report(context, params, source, entries, shared), digests), written


def _entry(
    variant: Variant, quality: Quality, fired: Tensor, tokens: int, source: Source, dictionary: Dictionary, place: str
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": variant.name,
        "architecture": variant.architecture,
        "latents": variant.latents,
        "k": variant.sparsity.k,
        "sae": place,
        "fvu": quality.fvu if math.isfinite(quality.fvu) else None,  # one activation held out has no variance
        "l0": quality.l0,
        "dead_fraction": float((fired == 0).float().mean()),
        "dead_among_tokens": tokens,
        "ce_loss_recovered": None,
    }
    if source.losses is not None:
        found = source.losses.measure(dictionary.reconstruct, live=False)
        entry |= {
            "ce_loss_recovered": loss_recovered(found["ce_clean"], found["ce_sae"], found["ce_zero"]),
            "ce_loss_recovered_from_mean": loss_recovered(found["ce_clean"], found["ce_sae"], found["ce_mean"]),
            **found,
        }
    return entry


def _about(context: Context, params: Params, source: Source, variant: Variant, trained: Trained) -> dict[str, Any]:
    own = {"architecture": variant.architecture, "k": variant.sparsity.k, "steps": trained.steps, "seed": context.manifest.seed}
    return {**source.about, "interp_tui": {**own, "batch_size": params.batch_size, "lr": params.lr, "norm_scale": trained.scale}}


def _rates(fired: Tensor, tokens: int) -> xr.Dataset:
    """How often each latent fires, as a share of the tokens."""
    rate = (fired.double().cpu() / max(1, tokens)).numpy()
    data = xr.DataArray(rate, dims=("latent",), coords={"latent": np.arange(len(rate))}, attrs={"tokens": tokens})
    return xr.Dataset({"firing_rate": data})


def _digest(tensor: Tensor) -> str:
    array = tensor.detach().cpu().contiguous().numpy()
    sha = hashlib.sha256(f"{array.dtype.str}{list(array.shape)}".encode())
    sha.update(array.tobytes())
    return sha.hexdigest()


def _figures(context: Context, chosen: list[Variant], trained: Trained, histograms: list[tuple[str, Tensor, int]]) -> None:
    figures = context.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    names = [variant.name for variant in chosen]
    curves = [
        Curve(name, [point[0] for point in points], [point[1] for point in points])
        for name, points in zip(names, trained.history, strict=True)
    ]
    atomic.write_text(figures / "fvu.svg", lines_svg(f"Unexplained variance: {context.manifest.name}", "step", "FVU in training", curves))
    rates = []
    for name, fired, tokens in histograms:
        edges, counts, _ = rate_histogram(fired, tokens)
        rates.append(Curve(name, [(a + b) / 2 for a, b in pairwise(edges)], counts))
    svg = lines_svg("How often latents fire", f"log10 of the share of tokens, {LOWEST:g} to {HIGHEST:g}", "latents", rates)
    atomic.write_text(figures / "firing.svg", svg)


def _report(context: Context, params: Params, source: Source, entries: list[dict[str, Any]], shared: Mapping[str, Any]) -> str:
    """Markdown for report.md."""
    manifest, best = context.manifest, entries[0]
    where = (
        f"`{source.about['site']}` of `{source.about['model_name']}`"
        if source.losses is not None
        else f"`{params.records or params.store}`"
    )
    lines = [
        f"# train_sae · {manifest.name}",
        "",
        f"**FVU {_n(best['fvu'])} at L0 {_n(best['l0'])}**, {best['dead_fraction']:.1%} dead"
        + (f", loss recovered {_n(best['ce_loss_recovered'])}." if best["ce_loss_recovered"] is not None else "."),
        "",
        f"Activations of {where}, width {shared['width']}: {shared['tokens']:,} in {shared['steps']:,} steps of {params.batch_size:,}, of "
        f"{shared['distinct_tokens']:,} different ones, at {_n(shared['tokens_per_second'])} tokens/s. Measured on activations held out.",
        "",
        "| dictionary | latents | FVU | L0 | dead | loss recovered | from mean | KL |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in entries:
        more = [entry.get(key) for key in ("ce_loss_recovered", "ce_loss_recovered_from_mean", "kl")]
        cells = [entry["name"], f"{entry['latents']:,}", _n(entry["fvu"]), _n(entry["l0"]), f"{entry['dead_fraction']:.1%}", *map(_n, more)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "FVU: unexplained share of the variance. Loss recovered: (CE without the activation − CE with the dictionary's) / (CE without − CE "
        f"clean); without means zeros, or, in the stricter column, the mean. Dead: fired on none of {best['dead_among_tokens']:,} tokens.",
        "",
        "![FVU in training](figures/fvu.svg)",
        "![firing rates](figures/firing.svg)",
        "",
        f"In the layout of SAE Lens: `{'`, `'.join(entry['sae'] for entry in entries)}`. How often each latent fires: `latents.zarr`.",
        "",
    ]
    return "\n".join(lines)


def _n(value: float | None) -> str:
    return f"{value:.4g}" if value is not None and math.isfinite(value) else "–"
