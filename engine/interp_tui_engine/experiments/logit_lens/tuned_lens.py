"""The tuned lens of a logit_lens run: fitted to the manifest's text, or read from an earlier run. Resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from ...events import Artifact, Checkpoint, Event, Metrics, Phase, Progress
from ...runtime.context import Context, Ticker
from ...runtime.pause import wait_while_paused
from ...runtime.steps import digest

if TYPE_CHECKING:
    from torch import Tensor

    from ...data.rows import TokenRows
    from ...lenses.tuned_lens import TunedLens
    from ...models.loaded import LoadedModel
    from ...sites.site_map import SiteMap
    from .params import Params

FILE = "lens.safetensors"
SAVE_EVERY = 5.0
TOLD_STEPS = 200
"""Points of the training curve, at most."""


@dataclass(frozen=True)
class Tuned:
    """A lens, and on held-out text the KL to the end of every layer by the logit lens and by this one; None for a lens that was read."""

    lens: TunedLens
    held_out: dict[str, Any] | None
    digest: str


def tuned(context: Context, model: LoadedModel, site_map: SiteMap) -> Generator[Event, None, Tuned]:
    """The lens the manifest asks for, saved beside the run's other files."""
    params: Params = context.manifest.params
    from ...lenses import tuned_lens

    path = context.folder.path / FILE
    if params.tuned_from is not None:
        given = Path(params.tuned_from)
        lens = tuned_lens.load(given / FILE if given.is_dir() else given, site_map)
        held_out = None
        if lens.made_for.get("weights_sha256") not in (None, model.weights_hash):
            yield Phase("reading the lens", f"it was fitted to other weights, of {lens.made_for.get('model', 'a model without a name')}")
    else:
        lens, held_out = yield from _fitted(context, model, site_map)
    lens.save(path)
    yield Artifact(FILE, "the tuned lens")
    # of the maps: a safetensors file does not write its metadata in one order
    whole = np.concatenate([part.numpy().ravel() for part in (*lens.weight, *lens.bias)])
    return Tuned(lens, held_out, digest(whole))


def _fitted(context: Context, model: LoadedModel, site_map: SiteMap) -> Generator[Event, None, tuple[TunedLens, dict[str, Any]]]:
    manifest, params = context.manifest, context.manifest.params
    from ...data.rows import load_rows
    from ...lenses import tuned_lens
    from ...samplers.chains import checkpoint

    spec = manifest.data[params.data]
    yield Phase("reading data", spec.source)
    rows = load_rows(spec, model.tokenizer, name=params.data)
    _check(rows, site_map, params.data)
    held = max(1, round(len(rows) * params.held_out))
    ids, apart = rows.ids[:-held].long().to(model.device), rows.ids[-held:].long().to(model.device)
    fitting = tuned_lens.Fitting(site_map, lr=params.fit_lr, steps=params.fit_steps)
    file = context.checkpoint_path / "fit.pt"
    if (state := checkpoint.load(file)) is not None:
        fitting.restore(state)
    yield Phase("fitting the lens", f"{len(ids):,} rows, {held:,} held out")
    save, began, before = Ticker(SAVE_EVERY), time.monotonic(), fitting.step
    save.due()
    while fitting.step < params.fit_steps:
        order = wait_while_paused(context, lambda: checkpoint.save(file, fitting.state()))
        step = fitting.step
        chosen = tuned_lens.rows_of(manifest.seed, step, len(ids), params.fit_batch).to(ids.device)
        losses = fitting.update(next(_streams(site_map, ids[chosen], params.fit_batch)))
        if order == "checkpoint" or save.due():
            checkpoint.save(file, fitting.state())
            yield Checkpoint("checkpoint", fitting.step)
        if step % max(1, params.fit_steps // TOLD_STEPS) == 0:
            yield Metrics("fit", step, {"kl": sum(losses) / len(losses), "kl_first": losses[0], "kl_last": losses[-1]})
        spent = (time.monotonic() - began) / (fitting.step - before)
        yield Progress(fitting.step, params.fit_steps, "steps", spent * (params.fit_steps - fitting.step))
    checkpoint.save(file, fitting.state())
    yield Phase("measuring", f"{held:,} held-out rows")
    plain = fitting.lens
    made_for = {"weights_sha256": model.weights_hash, "model": model.source}
    lens = tuned_lens.TunedLens(plain.weight, plain.bias, made_for)
    measured = tuned_lens.divergences(site_map, lens, _streams(site_map, apart, params.fit_batch))
    lens = tuned_lens.no_worse(lens, measured)
    # a layer put back reads as by the logit lens, on held-out text as everywhere
    final = [min(pair) for pair in zip(*measured.tolist(), strict=True)]
    told = {
        "rows": held,
        "tokens": apart.numel(),
        "logit_kl": measured[0].tolist(),
        "tuned_kl": final,
        "identity_layers": lens.identity_layers,
    }
    yield Metrics("cells", -1, {"held_out": told})
    return lens, told


def _streams(site_map: SiteMap, ids: Tensor, batch: int) -> Iterator[Tensor]:
    from ...lenses.logit_lens import streams

    for start in range(0, len(ids), batch):
        yield streams(site_map, ids[start : start + batch])


def _check(rows: TokenRows, site_map: SiteMap, name: str) -> None:
    if len(rows) < 2:
        raise UserError(f"data.{name} holds {len(rows)} row", "a lens needs at least two: some to fit it, some held out")
    if site_map.context is not None and rows.ids.shape[1] > site_map.context:
        raise UserError(
            f"data.{name}: rows of {rows.ids.shape[1]:,} tokens, but the model reads at most {site_map.context:,}",
            f"use context = {site_map.context - 1}",
        )
