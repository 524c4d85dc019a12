"""The tuned lens of a logit_lens run: fitted to the manifest's text, or read from an earlier run. Resumable at any step."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ... import payload
from ...digests import of_step_array
from ...errors import UserError
from ...events import Artifact, Checkpoint, Event, Metrics, Phase, Progress, Warned
from ...results.logit_lens import Domain, FitStep, LensCell, LensHeldOut
from ...runtime.context import Context, Ticker
from ...runtime.pause import wait_while_paused
from ...specs import DataSpec

if TYPE_CHECKING:
    from torch import Tensor

    from ...data.rows import TokenRows
    from ...lenses.tuned_lens import TunedLens
    from ...models.loaded import LoadedModel
    from ...sites.site_map import SiteMap
    from .params import Params

FILE = "lens.safetensors"
DOMAINS = "domains"
"""Under which key of its file's metadata a lens says how it does on texts it was not fitted to."""
DOMAIN_ROWS, DOMAIN_CONTEXT = 32, 64
SAVE_EVERY = 5.0
TOLD_STEPS = 200
"""Points of the training curve, at most."""


@dataclass(frozen=True)
class Tuned:
    """A lens, and on held-out text the KL to the end of every layer by the logit lens and by this one; None for a lens that was read."""

    lens: TunedLens
    held_out: LensHeldOut | None
    domains: dict[str, Domain]
    """By text that the lens was not fitted to, the same, measured when it was fitted."""
    digest: str


def tuned(context: Context, model: LoadedModel, site_map: SiteMap) -> Generator[Event, None, Tuned]:
    """The lens the manifest asks for, saved beside the run's other files."""
    params: Params = context.manifest.params
    from ...lenses import tuned_lens

    path = context.folder.path / FILE
    if params.tuned_from is not None:
        earlier = Path(params.tuned_from)
        lens = tuned_lens.load(earlier / FILE if earlier.is_dir() else earlier, site_map)
        held_out, domains = None, read_domains(lens.made_for.get(DOMAINS))
        if lens.made_for.get("weights_sha256") not in (None, model.weights_hash):
            yield Phase("reading the lens", f"it was fitted to other weights, of {lens.made_for.get('model', 'a model without a name')}")
    else:
        lens, held_out = yield from _fitted(context, model, site_map)
        domains = yield from _domains(context, model, site_map, lens)
        metadata = json.dumps({name: row.as_json() for name, row in domains.items()})
        lens = tuned_lens.TunedLens(lens.weight, lens.bias, {**lens.made_for, DOMAINS: metadata})
    lens.save(path)
    yield Artifact(FILE, "the tuned lens")
    # of the maps: a safetensors file does not write its metadata in one order
    whole = np.concatenate([part.numpy().ravel() for part in (*lens.weight, *lens.bias)])
    return Tuned(lens, held_out, domains, of_step_array(whole))


def _fitted(context: Context, model: LoadedModel, site_map: SiteMap) -> Generator[Event, None, tuple[TunedLens, LensHeldOut]]:
    manifest, params = context.manifest, context.manifest.params
    from ...data.rows import load_rows
    from ...lenses import tuned_lens
    from ...samplers.chains import checkpoint

    spec = manifest.data[params.data]
    yield Phase("reading data", spec.source)
    rows = load_rows(spec, model.tokenizer, name=params.data)
    _check(rows, site_map, params.data)
    fit_rows, held_rows = tuned_lens.held_out_rows(len(rows), params.held_out)
    held = len(held_rows)
    ids, apart = (rows.ids[part].long().to(model.device) for part in (fit_rows, held_rows))
    fitting = tuned_lens.Fitting(site_map, lr=params.fit_lr, steps=params.fit_steps)
    file = context.checkpoint_path / "fit.pt"
    if (state := checkpoint.load(file)) is not None:
        fitting.restore(state)
    yield Phase("fitting the lens", f"{len(ids):,} rows, {held:,} held out")
    save, began, before = Ticker(SAVE_EVERY), time.monotonic(), fitting.step
    save.due()
    for step, losses in tuned_lens.fit(fitting, ids, seed=manifest.seed, batch=params.fit_batch):
        order = wait_while_paused(context, lambda: checkpoint.save(file, fitting.state()))
        if order == "checkpoint" or save.due():
            checkpoint.save(file, fitting.state())
            yield Checkpoint("checkpoint", fitting.step)
        if step % max(1, params.fit_steps // TOLD_STEPS) == 0:
            yield Metrics("fit", step, FitStep(kl=sum(losses) / len(losses), kl_first=losses[0], kl_last=losses[-1]).as_json())
        spent = (time.monotonic() - began) / (fitting.step - before)
        yield Progress(fitting.step, params.fit_steps, "steps", spent * (params.fit_steps - fitting.step))
    checkpoint.save(file, fitting.state())
    yield Phase("measuring", f"{held:,} held-out rows")
    plain = fitting.lens
    made_for = {"weights_sha256": model.weights_hash, "model": model.source}
    lens = tuned_lens.TunedLens(plain.weight, plain.bias, made_for)
    means = tuned_lens.measured(site_map, lens, apart, params.fit_batch).mean(-1).float()
    lens = tuned_lens.no_worse(lens, means)
    # a layer put back reads as by the logit lens, on held-out text as everywhere
    final = [min(pair) for pair in zip(*means.tolist(), strict=True)]
    held_out_kl = LensHeldOut(
        rows=held,
        tokens=apart.numel(),
        logit_kl=tuple(means[0].tolist()),
        tuned_kl=tuple(final),
        identity_layers=tuple(lens.identity_layers),
    )
    yield Metrics("cells", -1, LensCell(held_out=held_out_kl).as_json())
    return lens, held_out_kl


def _domains(context: Context, model: LoadedModel, site_map: SiteMap, lens: TunedLens) -> Generator[Event, None, dict[str, Domain]]:
    """KL to the end by both lenses on every text the manifest names, none of which the lens was fitted to."""
    from ...data.rows import load_rows
    from ...lenses.tuned_lens import measured

    manifest, params = context.manifest, context.manifest.params
    fitted = manifest.data[params.data]
    by_name: dict[str, Domain] = {}
    for name in params.domains:
        own = manifest.data.get(name)
        split = "heldout" if name != "builtin:facts" else None
        if (name, split) == (fitted.source, fitted.split) or own == fitted:
            continue  # the text that the lens was fitted to
        yield Phase("measuring", name)
        if own is None:
            size = min(fitted.context, DOMAIN_CONTEXT)
            tables = {"source": name, "context": size, "rows": DOMAIN_ROWS, "split": split, "prepend_bos": fitted.prepend_bos}
            own = DataSpec.model_validate(tables)
        try:
            rows = load_rows(own, model.tokenizer, name=name)
        except UserError as error:
            yield Warned(f"the lens is not measured on {name}: {error.what}")
            continue
        _check(rows, site_map, name)
        ids = rows.ids[:: max(1, len(rows) // DOMAIN_ROWS)][:DOMAIN_ROWS].long().to(model.device)
        by_name[name] = _summary(measured(site_map, lens, ids, params.fit_batch), ids.numel())
    return by_name


def _summary(by_row: Tensor, tokens: int) -> Domain:
    """What is said of one text. by_row: (2, layers, rows), by the logit lens and the tuned one."""
    more = by_row[1] - by_row[0]
    error = more.std(-1) / more.shape[-1] ** 0.5
    worse = [layer for layer, mean in enumerate(more.mean(-1).tolist()) if mean > 0]
    return Domain(
        rows=by_row.shape[-1],
        tokens=tokens,
        logit_kl=tuple(by_row[0].mean(-1).tolist()),
        tuned_kl=tuple(by_row[1].mean(-1).tolist()),
        std_error=tuple(error.tolist()),
        worse_layers=tuple(worse),
        difference=float(more[:-1].mean()),
        difference_std_error=float(more[:-1].mean(0).std() / more.shape[-1] ** 0.5),
    )


def read_domains(stored: str | None) -> dict[str, Domain]:
    """What a lens's file says of texts it was measured on; nothing where it says nothing, or nothing that can be read."""
    try:
        domains = json.loads(stored or "{}")
    except ValueError:
        return {}
    if not isinstance(domains, dict):
        return {}
    whole = {name: row for name, row in domains.items() if isinstance(row, dict) and row.keys() >= set(Domain.model_fields)}
    return {name: payload.read(Domain, row) for name, row in whole.items()}


def _check(rows: TokenRows, site_map: SiteMap, name: str) -> None:
    if len(rows) < 2:
        raise UserError(f"data.{name} holds {len(rows)} row", "a lens needs at least two: some to fit it, some held out")
    if site_map.context is not None and rows.ids.shape[1] > site_map.context:
        raise UserError(
            f"data.{name}: rows of {rows.ids.shape[1]:,} tokens, but the model reads at most {site_map.context:,}",
            f"use context = {site_map.context - 1}",
        )
