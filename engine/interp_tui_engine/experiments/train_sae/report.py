"""What a finished train_sae run leaves: dictionaries as files, how often each latent fires, numbers and a report. Imports torch."""

from __future__ import annotations

import math
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
from ...payload import LEFT_OUT, given
from ...results.train_sae import DictionaryLosses, NamedDictionary, TrainSAEHeadline, TrainSAEResult
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
    entries: list[NamedDictionary] = []
    written, histograms = [], []
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
        entries.append(_entry(variant, quality, fired, tokens, source, dictionary, place, twice))
        histograms.append((variant.name, fired, tokens))
        written.append(place)
    xr.DataTree.from_dict(rates).to_zarr(folder / LATENTS, mode="w", consolidated=False)
    first, several = entries[0], len(chosen) > 1
    own = {name: value for name, value in given(first).items() if name != "name"} | ({"sae": SAE} if several else {})
    values = TrainSAEResult(
        **own,
        saes=tuple(entries) if several else LEFT_OUT,
        steps=trained.steps,
        tokens=trained.steps * params.batch_size,
        tokens_per_second=trained.steps * params.batch_size / trained.seconds if trained.seconds > 0 else None,
        distinct_tokens=source.tokens,
        width=source.width,
        norm_scale=trained.scale,
        training_seconds=trained.seconds,
    )
    headline = TrainSAEHeadline(
        fvu=_if_known(first.fvu),
        l0=_if_known(first.l0),
        dead_fraction=_if_known(first.dead_fraction),
        ce_loss_recovered=_if_known(first.ce_loss_recovered),
        repeats=_if_known(first.repeats),
    )
    _figures(context, chosen, trained, histograms)
    report = _report(context, params, source, entries, values)
    return Result(values.as_json(), headline.as_json(), report, digests, _uncertainty(source, first)), written


def _if_known(value: float | None) -> float:
    return LEFT_OUT if value is None else value


def _entry(
    variant: Variant,
    quality: Quality,
    fired: Tensor,
    tokens: int,
    source: ActivationSource,
    dictionary: Dictionary,
    place: str,
    twice: Repetition | None,
) -> NamedDictionary:
    low, high = _fvu_interval(quality, source, dictionary)
    return NamedDictionary(
        name=variant.name,
        architecture=variant.architecture,
        latents=variant.latents,
        k=variant.sparsity.k,
        sae=place,
        fvu=quality.fvu if math.isfinite(quality.fvu) else None,  # one activation held out has no variance
        fvu_low=low,
        fvu_high=high,
        l0=quality.l0,
        dead_fraction=float((fired == 0).float().mean()),
        dead_among_tokens=tokens,
        **given(_losses(source, dictionary)),
        repeats=LEFT_OUT if twice is None else twice.share,
        repeat_cosine=LEFT_OUT if twice is None else twice.mean,
        repeat_chance=LEFT_OUT if twice is None else twice.chance,
    )


def _losses(source: ActivationSource, dictionary: Dictionary) -> DictionaryLosses:
    """What the model loses with the reconstruction in the activation's place, on the rows held out."""
    if source.losses is None:
        return DictionaryLosses(ce_loss_recovered=None)
    rows = source.losses.measure(dictionary.reconstruct, live=False)
    means = {name: float(values.mean()) for name, values in rows.items()}
    low, high = ratio_interval(rows["ce_zero"] - rows["ce_sae"], rows["ce_zero"] - rows["ce_clean"])
    return DictionaryLosses(
        ce_loss_recovered=loss_recovered(means["ce_clean"], means["ce_sae"], means["ce_zero"]),
        ce_loss_recovered_low=low,
        ce_loss_recovered_high=high,
        ce_loss_recovered_from_mean=loss_recovered(means["ce_clean"], means["ce_sae"], means["ce_mean"]),
        **means,
    )


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


def _uncertainty(source: ActivationSource, entry: NamedDictionary) -> dict[str, Uncertainty]:
    """Over rows of text, which are what another sample would draw; of stored activations each is a row."""
    count = len(source.held_out) // source.row_tokens
    over = f"{count} held-out rows of text" if source.losses is not None else f"{count} held-out activations"

    def bar(low: float | None, high: float | None) -> Uncertainty:
        interval = Uncertainty(over, low=low, high=high)
        return interval if interval.has_bar else none_known(over.replace("rows", "row") if count == 1 else over)

    bars = {"fvu": bar(entry.fvu_low, entry.fvu_high)}
    if entry.ce_loss_recovered is not None:
        bars["ce_loss_recovered"] = bar(entry.ce_loss_recovered_low, entry.ce_loss_recovered_high)
    training = none_known("one training, on rows it was not trained on")
    bars |= {"l0": training} if entry.l0 is not None else {}
    bars |= {"dead_fraction": training} if entry.dead_fraction is not None else {}
    if entry.repeats is not None:
        bars["repeats"] = none_known("one pair of starts")
        bars["repeat_cosine"] = Uncertainty(control=entry.repeat_chance, note="one pair of starts")
    return bars


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


def _report(context: Context, params: Params, source: ActivationSource, entries: list[NamedDictionary], values: TrainSAEResult) -> str:
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
        f"**FVU {short(best.fvu, 4)} at L0 {short(best.l0)}**, {best.dead_fraction:.1%} dead"
        + (f", loss recovered {short(best.ce_loss_recovered, 4)}." if best.ce_loss_recovered is not None else "."),
        "",
        *_intervals(best),
        f"Activations of {where}, width {values.width}: {values.tokens:,} in {values.steps:,} steps of {params.batch_size:,}, of "
        f"{values.distinct_tokens:,} different ones, at {short(values.tokens_per_second, 4)} tokens/s. Measured on others.",
        "",
        "| dictionary | latents | FVU | L0 | dead | loss recovered | from mean | KL |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in entries:
        more = (entry.ce_loss_recovered, entry.ce_loss_recovered_from_mean, entry.kl)
        cells = [
            entry.name,
            f"{entry.latents:,}",
            short(entry.fvu, 4),
            short(entry.l0),
            f"{entry.dead_fraction:.1%}",
            *(short(value, 4) for value in more),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "FVU: unexplained share of the variance. Loss recovered: (CE without the activation − CE with the dictionary's) / (CE without − CE "
        f"clean); without means zeros, or, in the stricter column, the mean. Dead: fired on none of {best.dead_among_tokens:,} tokens.",
        "",
        "![FVU in training](figures/fvu.svg)",
        "![firing rates](figures/firing.svg)",
        "",
        f"In the layout of SAE Lens: `{'`, `'.join(entry.sae for entry in entries)}`. How often each latent fires: `latents.zarr`.",
        "",
    ]
    return "\n".join(lines)


def _intervals(entry: NamedDictionary) -> list[str]:
    sentences = []
    if entry.fvu_low is not None:
        interval = f"With 95 % over rows FVU lies in [{short(entry.fvu_low, 4)}, {short(entry.fvu_high, 4)}]"
        if entry.ce_loss_recovered is not None:
            interval += f", the loss recovered in [{short(entry.ce_loss_recovered_low, 4)}, {short(entry.ce_loss_recovered_high, 4)}]"
        sentences.append(f"{interval}.")
    if entry.repeats is not None:
        sentences.append(
            f"**{entry.repeats:.1%} of the latents repeat** from another start on the same activations (cosine of {REPEATS:g} and more; "
            f"{entry.repeat_cosine:.2f} on average, {entry.repeat_chance:.2f} by chance): the others are as much the start's doing "
            "as the model's."
        )
    return [" ".join(sentences), ""] if sentences else []
