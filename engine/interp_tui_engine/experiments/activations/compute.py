"""An activations run: a thread writes one batch while the next one is read. Imports torch."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from ... import atomic
from ...catalog import Result
from ...data.rows import load_rows
from ...digests import of_texts
from ...errors import UserError
from ...events import ArrayWritten, Checkpoint, Event, Metrics, Phase, Progress
from ...figures.bars import Bar, bars_svg
from ...models.host_ring import HostBuffers, HostRing
from ...models.loaded import LoadedModel
from ...payload import NumbersByName
from ...results.activations import ActivationsCell, ActivationsHeadline, ActivationsResult, ShownRow, StoredArray
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.pause import wait_while_paused
from ...runtime.steps import write_figure
from ...sites.hooks import activations
from ...sites.row_memory import fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap
from .. import _pairs
from .store import SIZES, STORE, ActivationStore, Layout, Written, in_precision, norms_of, sizes_of, sizes_of_parts, token_norms

if TYPE_CHECKING:
    from . import Params

RMS = "rms"
"""Under which name a batch's sizes stand beside its hashes."""
DRAWN = 60
"""Sites in the figure."""
TOLD = 20_000
"""Numbers of single tokens that events tell of; the store holds all."""
RING = 3
"""Batches on the host at a time: one is written, one waits, one arrives."""


def run(context: Context) -> Generator[Event, None, Result]:
    """Read batch by batch; a batch that is on disk is not read again after a kill."""
    started = time.monotonic()
    manifest = context.manifest
    params: Params = manifest.params
    model, site_map = yield from open_model(manifest)
    yield Phase("reading data", manifest.data[params.data].source)
    ids = load_rows(manifest.data[params.data], model.tokenizer, name=params.data).ids.long()
    sites = _sites(params, site_map, ids)
    yield run_started(context, model)
    path = context.folder.path / STORE
    ledger = context.checkpoint_path / "batches.json"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    held = atomic.read_json(ledger)
    done: list[dict[str, str]] = held if isinstance(held, list) and path.is_dir() else []
    probe = activations(site_map, ids[:1].to(model.device), sites)
    layout = Layout({site: tuple(probe[site].shape[1:]) for site in sites}, params.dtype)
    source = manifest.data[params.data].source
    store = ActivationStore(path, layout, ids, params.batch_size, model.tokenizer, source, begun=bool(done))
    for name, array in store.arrays.items():
        yield ArrayWritten(f"{STORE}/{name}", (), tuple(array.shape), len(done) * params.batch_size)
    names = [str(site) for site in sites]
    shapes = {name: tuple(array.shape) for name, array in store.arrays.items()}
    places = ActivationsCell(sites=tuple(names), layers=site_map.num_layers, shapes=shapes, dtype=params.dtype, store=STORE)
    yield Metrics("cells", 0, places.as_json())
    shown_rows = TOLD // (len(sites) * ids.shape[1])
    yield Phase("reading activations", f"{len(ids):,} rows")
    starts = range(0, len(ids), params.batch_size)
    reader = _Reader(model, site_map, layout, min(params.batch_size, len(ids)), ids.shape[1])
    began, before = time.monotonic(), len(done)

    def told(start: int, written: Written) -> Generator[Event, None, None]:
        index, stop = len(done), min(start + params.batch_size, len(ids))
        rms = {name: sizes.rms for name, sizes in written.sizes.items()}
        done.append({**written.hashes, RMS: json.dumps(rms)})
        atomic.write_json(ledger, done)
        yield Checkpoint("checkpoint", index + 1)
        yield Progress(stop, len(ids), "rows", (time.monotonic() - began) / (index + 1 - before) * (len(starts) - index - 1))
        yield Metrics("rms", index, NumbersByName(**rms).as_json())
        shown = tuple(
            ShownRow(
                row=row,
                tokens=tuple(_texts(model, ids[row].tolist())),
                norms={name: tuple(norms[row - start]) for name, norms in written.norms.items()},
            )
            for row in range(start, min(stop, shown_rows))
        )
        yield Metrics("cells", index + 1, ActivationsCell(rms=rms, rows=stop - start, shown=shown).as_json())

    with ThreadPoolExecutor(1, "activations-writer") as thread:  # leaves when what was sent to it is written
        waiting: deque[tuple[int, Future[Written]]] = deque()
        for start in starts[before:]:
            wait_while_paused(context)
            batch = ids[start : start + params.batch_size]
            buffers = reader.read(batch)
            write = partial(store.write, slice(start, start + len(batch)), shown=start < shown_rows)
            waiting.append((start, thread.submit(reader.used, buffers, write)))
            while waiting and (len(waiting) >= RING or waiting[0][1].done()):
                start_of_written, future = waiting.popleft()
                yield from told(start_of_written, future.result())
        for start, future in waiting:
            yield from told(start, future.result())
    digests = {f"{STORE}/{site}": of_texts(part[str(site)] for part in done) for site in sites}
    values = ActivationsResult(
        arrays=tuple(StoredArray(name=f"{STORE}/{name}", shape=shape, dtype=params.dtype) for name, shape in shapes.items()),
        rows=len(ids),
        tokens=int(ids.numel()),
        seconds=time.monotonic() - started,
    )
    batch_rms = [json.loads(part[RMS]) for part in done]
    bars = [Bar(name, sum(part[name] for part in batch_rms) / len(batch_rms)) for name in names][:DRAWN]
    yield write_figure(context.folder.path, "rms", bars_svg("size of activations", "root mean square", bars), "root mean square by site")
    headline = ActivationsHeadline(rows=len(ids), sites=len(sites))
    return Result(values.as_json(), headline.as_json(), _report(values, source), digests)


def _sites(params: Params, site_map: SiteMap, ids: Tensor) -> list[Site]:
    """Raises UserError for sites that the model does not have, and for rows that are longer than it reads."""
    if site_map.context is not None and ids.shape[1] > site_map.context:
        raise UserError(
            f"rows of {ids.shape[1]} tokens, but the model reads at most {site_map.context}", f"use context = {site_map.context - 1}"
        )
    sites = _pairs.sites_of(params.sites, site_map.num_layers)
    if placed := [site for site in sites if site.position is not None]:
        raise UserError(f"params.sites: {placed[0]} names a position, but every position is kept", "leave the @ out")
    for site in sites:
        site_map.check(site)
    return sites


@final
class _Reader:
    """Reads batches on the device and sends them to the host, without waiting for either."""

    def __init__(self, model: LoadedModel, site_map: SiteMap, layout: Layout, rows: int, tokens: int) -> None:
        self._device, self._site_map, self._layout = model.device, site_map, layout
        self._together = fitting_rows(site_map, tokens, rows, logits=0)
        tensors: dict[str, Any] = {SIZES: ((len(layout.shapes), 3), torch.float32)}
        for site, shape in layout.shapes.items():
            tensors[str(site)] = ((rows, *shape), layout.stored)
            tensors[norms_of(str(site))] = ((rows, tokens), torch.float32)
        self._ring = HostRing(model.device, tensors, RING)

    def read(self, ids: Tensor) -> HostBuffers:
        """The activations of some rows of tokens on their way to the host. ids: (rows, tokens)."""
        buffers, row, sizes = self._ring.take(), 0, []
        for some, (values, own) in self._together.each(ids, self._pass):
            for name, value in values.items():
                buffers.put(name, row, value)
            sizes.append((len(some), own))
            row += len(some)
        buffers.put(SIZES, 0, sizes_of_parts(sizes))
        buffers.sent()
        return buffers

    def used(self, buffers: HostBuffers, use: Callable[[HostBuffers], Written]) -> Written:
        """What `use` makes of the buffers, which are free then."""
        try:
            return use(buffers)
        finally:
            self._ring.give_back(buffers)

    def _pass(self, ids: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        seen = activations(self._site_map, ids.to(self._device, non_blocking=True), list(self._layout.shapes))
        values: dict[str, Tensor] = {}
        sizes = []
        for site in self._layout.shapes:
            kept = in_precision(seen[site], self._layout.dtype)
            values |= {str(site): kept, norms_of(str(site)): token_norms(site, seen[site])}
            sizes.append(sizes_of(seen[site], kept))
        return values, torch.stack(sizes)


def _report(values: ActivationsResult, source: str) -> str:
    lines = [
        "# Activations",
        "",
        f"{values.rows:,} rows of {source}, {values.tokens:,} tokens, in `{STORE}` beside their `input_ids` and `text`.",
        "",
        "![root mean square by site](figures/rms.svg)",
        "",
        "| array | shape | type |",
        "|---|---|---|",
        *(f"| `{array.name}` | {' × '.join(map(str, array.shape))} | {array.dtype} |" for array in values.arrays),
        "",
        f"`xr.open_datatree('{STORE}', engine='zarr', consolidated=False)` opens it without reading it.",
    ]
    return "\n".join([*lines, ""])


def _texts(model: LoadedModel, ids: list[int]) -> list[str]:
    if model.tokenizer is None:
        return [str(token) for token in ids]
    from ...data.prompts import texts_of

    return texts_of(model.tokenizer, ids)
