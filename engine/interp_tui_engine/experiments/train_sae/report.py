"""What a finished train_sae run leaves: dictionaries as files, how often each latent fires, numbers and a report. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...dictionaries import sae_lens
from ...dictionaries.dictionary import Dictionary
from ...dictionaries.evaluation import HIGHEST, LOWEST, Quality, evaluate, loss_recovered, rate_histogram, ratio_interval, squares_by_row
from ...dictionaries.learner import Learner
from ...dictionaries.repetition import REPEATS, Repetition, repetition
from ...digests import of_array
from ...figures.lines import Curve, lines_svg
from ...numbers import short
from ...runtime.context import Context
from ...uncertainty import Uncertainty, none_known
from .params import Params, Variant
from .source import ActivationSource
from .training import Trained

BATCH = 4096
DEAD_AMONG = 262_144
"""Most activations over which a latent must fire once to count as alive at the end."""
LATENTS = "latents.zarr"
SAE, REPETITION = "sae", "repeats.safetensors"


def finish(context: Context, params: Params, source: ActivationSource, chosen: list[Variant], trained: Trained) -> tuple[Result, list[str]]:
    """Measure on what was held out, write everything; returns the result and the folders written."""
    folder = context.folder.path
    rates: dict[str, Any] = {}
    digests: dict[str, str] = {}
    entries, written, histograms = [], [], []
    for place_of, (variant, learner) in enumerate(zip(chosen, trained.learners, strict=True)):
        weights = learner.weights.map(torch.Tensor.detach).scaled(trained.scale)
        dictionary = Dictionary(learner.architecture, weights, _about(context, params, source, variant, trained))
        place = SAE if len(chosen) == 1 else f"{SAE}/{variant.name}"
        quality = evaluate(dictionary.architecture, dictionary.weights, torch.split(source.held_out, BATCH))
        seen = evaluate(dictionary.architecture, dictionary.weights, torch.split(source.stream.rows[:DEAD_AMONG], BATCH))
        fired, tokens = seen.fired + quality.fired, seen.tokens + quality.tokens
        sae_lens.save(dictionary, folder / place)
        partner = trained.partners[place_of] if trained.partners else None
        twice = None if partner is None else _repetition(partner, source, dictionary, fired, trained.scale, context.manifest.seed)
        if twice is not None:
            with atomic.replacing(folder / place / REPETITION) as beside:
                save_file({"cosine": twice.cosine.contiguous()}, beside)
            digests[f"{place}/repeats"] = _digest(twice.cosine)
        rates["/" if len(chosen) == 1 else variant.name] = _rates(fired, tokens, twice)
        digests |= {f"{place}/{name}": _digest(tensor) for name, tensor in weights.named().items()}
        digests[f"{place}/firing_rate"] = _digest(fired)
        entries.append(_entry(variant, quality, fired, tokens, source, dictionary, place) | _repetition_numbers(twice))
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
    told = ("fvu", "l0", "dead_fraction", "ce_loss_recovered", "repeats")
    headline = {key: entries[0][key] for key in told if entries[0].get(key) is not None}
    _figures(context, chosen, trained, histograms)
    report = _report(context, params, source, entries, shared)
    return Result(values, headline, report, digests, _uncertainty(source, entries[0])), written


def _entry(
    variant: Variant, quality: Quality, fired: Tensor, tokens: int, source: ActivationSource, dictionary: Dictionary, place: str
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": variant.name,
        "architecture": variant.architecture,
        "latents": variant.latents,
        "k": variant.sparsity.k,
        "sae": place,
        "fvu": quality.fvu if math.isfinite(quality.fvu) else None,  # one activation held out has no variance
        **dict(zip(("fvu_low", "fvu_high"), _fvu_interval(quality, source, dictionary), strict=True)),
        "l0": quality.l0,
        "dead_fraction": float((fired == 0).float().mean()),
        "dead_among_tokens": tokens,
        "ce_loss_recovered": None,
    }
    if source.losses is not None:
        rows = source.losses.measure(dictionary.reconstruct, live=False)
        found = {name: float(values.mean()) for name, values in rows.items()}
        low, high = ratio_interval(rows["ce_zero"] - rows["ce_sae"], rows["ce_zero"] - rows["ce_clean"])
        entry |= {
            "ce_loss_recovered_low": low,
            "ce_loss_recovered_high": high,
            "ce_loss_recovered": loss_recovered(found["ce_clean"], found["ce_sae"], found["ce_zero"]),
            "ce_loss_recovered_from_mean": loss_recovered(found["ce_clean"], found["ce_sae"], found["ce_mean"]),
            **found,
        }
    return entry


def _fvu_interval(quality: Quality, source: ActivationSource, dictionary: Dictionary) -> tuple[float | None, float | None]:
    if not math.isfinite(quality.fvu):
        return None, None
    return ratio_interval(*squares_by_row(dictionary.architecture, dictionary.weights, source.held_out, source.row_tokens))


def _repetition(partner: Learner, source: ActivationSource, dictionary: Dictionary, fired: Tensor, scale: float, seed: int) -> Repetition:
    """How much of a dictionary its partner has too; both without the latents that fired on nothing."""
    weights = partner.weights.map(torch.Tensor.detach)
    seen = chain(torch.split(source.held_out, BATCH), torch.split(source.stream.rows[:DEAD_AMONG], BATCH))
    other = evaluate(partner.architecture, weights.scaled(scale), seen).fired
    return repetition(dictionary.weights.decoder, weights.decoder, fired > 0, other > 0, seed)


def _repetition_numbers(twice: Repetition | None) -> dict[str, Any]:
    return {} if twice is None else {"repeats": twice.share, "repeat_cosine": twice.mean, "repeat_chance": twice.chance}


def _uncertainty(source: ActivationSource, entry: Mapping[str, Any]) -> dict[str, Uncertainty]:
    """Over rows of text, which are what another sample would draw; of stored activations each is a row."""
    count = len(source.held_out) // source.row_tokens
    over = f"{count} held-out rows of text" if source.losses is not None else f"{count} held-out activations"

    def bar(name: str) -> Uncertainty:
        found = Uncertainty(over, low=entry[f"{name}_low"], high=entry[f"{name}_high"])
        return found if found.has_bar else none_known(over.replace("rows", "row") if count == 1 else over)

    found = {"fvu": bar("fvu")}
    if entry["ce_loss_recovered"] is not None:
        found["ce_loss_recovered"] = bar("ce_loss_recovered")
    training = none_known("one training, on rows it was not trained on")
    found |= {name: training for name in ("l0", "dead_fraction") if entry.get(name) is not None}
    if "repeats" in entry:
        found["repeats"] = none_known("one pair of starts")
        found["repeat_cosine"] = Uncertainty(control=entry["repeat_chance"], note="one pair of starts")
    return found


def _about(context: Context, params: Params, source: ActivationSource, variant: Variant, trained: Trained) -> dict[str, Any]:
    own = {"architecture": variant.architecture, "k": variant.sparsity.k, "steps": trained.steps, "seed": context.manifest.seed}
    return {**source.about, "interp_tui": {**own, "batch_size": params.batch_size, "lr": params.lr, "norm_scale": trained.scale}}


def _rates(fired: Tensor, tokens: int, twice: Repetition | None) -> xr.Dataset:
    """How often each latent fires, as a share of the tokens; and its cosine with its like from another start, where there was one."""
    rate = (fired.double().cpu() / max(1, tokens)).numpy()
    data = xr.DataArray(rate, dims=("latent",), coords={"latent": np.arange(len(rate))}, attrs={"tokens": tokens})
    if twice is None:
        return xr.Dataset({"firing_rate": data})
    return xr.Dataset({"firing_rate": data, "repeat_cosine": ("latent", twice.cosine.numpy())})


def _digest(tensor: Tensor) -> str:
    return of_array(tensor.detach().cpu().numpy())


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


def _report(context: Context, params: Params, source: ActivationSource, entries: list[dict[str, Any]], shared: Mapping[str, Any]) -> str:
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
        f"**FVU {short(best['fvu'], 4)} at L0 {short(best['l0'])}**, {best['dead_fraction']:.1%} dead"
        + (f", loss recovered {short(best['ce_loss_recovered'], 4)}." if best["ce_loss_recovered"] is not None else "."),
        "",
        *_intervals(best),
        f"Activations of {where}, width {shared['width']}: {shared['tokens']:,} in {shared['steps']:,} steps of {params.batch_size:,}, of "
        f"{shared['distinct_tokens']:,} different ones, at {short(shared['tokens_per_second'], 4)} tokens/s. Measured on others.",
        "",
        "| dictionary | latents | FVU | L0 | dead | loss recovered | from mean | KL |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in entries:
        more = [entry.get(key) for key in ("ce_loss_recovered", "ce_loss_recovered_from_mean", "kl")]
        cells = [
            entry["name"],
            f"{entry['latents']:,}",
            short(entry["fvu"], 4),
            short(entry["l0"]),
            f"{entry['dead_fraction']:.1%}",
            *(short(value, 4) for value in more),
        ]
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


def _intervals(entry: Mapping[str, Any]) -> list[str]:
    said = []
    if entry["fvu_low"] is not None:
        said.append(f"With 95 % over rows FVU lies in [{short(entry['fvu_low'], 4)}, {short(entry['fvu_high'], 4)}]")
        if entry["ce_loss_recovered"] is not None:
            said[0] += f", the loss recovered in [{short(entry['ce_loss_recovered_low'], 4)}, {short(entry['ce_loss_recovered_high'], 4)}]"
        said[0] += "."
    if "repeats" in entry:
        said.append(
            f"**{entry['repeats']:.1%} of the latents repeat** from another start on the same activations (cosine of {REPEATS:g} and more; "
            f"{entry['repeat_cosine']:.2f} on average, {entry['repeat_chance']:.2f} by chance): the others are as much the start's doing "
            "as the model's."
        )
    return [" ".join(said), ""] if said else []
