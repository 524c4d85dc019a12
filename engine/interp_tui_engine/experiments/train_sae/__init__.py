"""Sparse autoencoders: which directions are a model's activations made of? Bricken et al. 2023; Gao et al. 2024, arXiv 2406.04093."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...catalog import Estimate, Kind, Result
from ...data.row_count import row_count
from ...events import ArrayWritten, Artifact, Event, Phase, RunStarted, Warned
from ...manifest import Manifest
from ...results.train_sae import LIVE, TrainSAEHeadline, TrainSAEResult
from ...runtime import cost, open_model
from ...runtime.context import Context, Interrupted, Order, Ticker
from ...runtime.pause import next_order
from . import params as sae_params

if TYPE_CHECKING:
    from .source import ActivationSource

EXAMPLE: dict[str, Any] = {
    "name": "tiny-l2",
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 2048}},
    "params": {"site": "resid_post", "layer": 2, "architecture": "topk", "latents": 1024, "k": 32},
}
Params = sae_params.Params
check = sae_params.check
SMALL_STEP, SMALL_MODEL = 1 << 28, 20_000_000
"""Multiply-adds of an encoder's product, and parameters of a model, below which one thread does the work."""
TOLD_EVERY = 5.0
"""Seconds between two words on how far the reading is."""
HELD_ON_CPU = 4
"""Bytes a held number takes: activations are float32."""


def estimate(manifest: Manifest) -> Estimate:
    """Time from the flops of the model's pass and of the steps; memory from the buffer and the optimiser's moments."""
    params: sae_params.Params = manifest.params
    size = cost.parameters_of(manifest)
    specs = [manifest.data[name] for name in sae_params.listed(params.train_data) if name in manifest.data]
    if size is None or not specs:
        return Estimate(None, None, None, ("the activations' width is not known before they are read",))
    counts = [row_count(spec) for spec in specs]
    rows = None if None in counts else sum(count or 0 for count in counts)
    if rows is None and params.tokens is None:
        return Estimate(None, None, None, ("how much data there is is not known before it is read",))
    # a model of that many parameters is about as wide as a tall stack of 12·width² blocks has it
    width = max(64, int((size.parameters / 60) ** 0.5))
    each = 1 if params.positions == "last" else specs[0].context
    held = params.buffer if rows is None else min(rows * each, params.buffer)
    trained = params.tokens or int(params.epochs * (rows or 0) * each)
    chosen = sae_params.variants(params, width)
    latents = sum(variant.latents for variant in chosen)
    # what fits the buffer is read once; a longer stream, or one of unknown length, as often as it is trained on
    read = rows * each if rows is not None and rows * each <= params.buffer else max(trained, (rows or 0) * each)
    flops = 2.0 * size.parameters * read * specs[0].context / each + 6.0 * trained * width * latents
    memory = cost.memory(size.parameters, 8192) + HELD_ON_CPU * width * (held + 8 * latents)
    notes = (
        *size.notes,
        "width guessed from the model's size",
        *(("at most: how much data there is is not known",) if rows is None else ()),
    )
    return Estimate(cost.seconds(flops), memory, 8 * width * latents + (64 << 10), notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read activations, train, measure on what was held out, save."""
    yield Phase("starting")
    import torch

    from . import report as sae_report
    from . import training

    params: sae_params.Params = context.manifest.params
    orders, wait_while_paused = _orders(context.poll)
    context = replace(context, poll=orders)
    source = yield from _source(context, params, wait_while_paused)
    chosen = sae_params.variants(params, source.width)
    provenance = {**source.provenance, **open_model.gpu_of(source.device), "compute": {"threads": torch.get_num_threads()}}
    model = context.manifest.model
    device = open_model.held_by(source.device, model.devices if model is not None else 1)
    yield RunStarted("train_sae", context.manifest.name, device=device, resumed=context.resumed, provenance=provenance)
    yield Phase("training", f"{len(chosen)} on one pass" if len(chosen) > 1 else chosen[0].name)
    trained = yield from training.train(context, params, source, chosen)
    yield Phase("measuring", "on activations held out")
    result, written = sae_report.finish(context, params, source, chosen, trained)
    for place in written:
        yield Artifact(place, "dictionary in the layout of SAE Lens")
    yield ArrayWritten(sae_report.LATENTS, ("latent",), (chosen[0].latents,))
    return result


def _source(context: Context, params: sae_params.Params, wait_while_paused: Callable[[], None]) -> Generator[Event, None, ActivationSource]:
    import torch

    from ...data.rows import load_rows
    from ...models.device import compute_deterministically, resolve_device
    from ...sites.dissect import site_map_of
    from . import source as sae_source

    manifest, seed = context.manifest, context.manifest.seed
    threads = open_model.use_threads(manifest)
    if params.records or params.store:
        device = resolve_device(manifest.model.device if manifest.model else "auto")
        compute_deterministically(device, manifest.compute.deterministic)
        yield Phase("reading activations", params.records or params.store or "")
        source = (sae_source.from_records if params.records else sae_source.from_store)(params, seed, device)
        if threads is None and is_small(params, source.width):
            torch.set_num_threads(1)
        return source
    assert manifest.model is not None, "check() asks for a model"
    yield Phase("loading model", manifest.model.source)
    model = open_model.load(manifest)
    rows = []
    for name in sae_params.listed(params.train_data):
        yield Phase("reading data", f"{name}: {manifest.data[name].source}")
        rows.append(load_rows(manifest.data[name], model.tokenizer, name=name))
    site, site_map = sae_params.site_of(params), site_map_of(model)
    if threads is None and model.num_parameters < SMALL_MODEL and is_small(params, site_map.d_model):
        torch.set_num_threads(1)
    yield Phase("reading activations", str(site))
    return (yield from _told(str(site), sae_source.from_model(params, seed, model, site_map, site, rows, wait_while_paused)))


def _told(site: str, reading: Generator[tuple[int, int], None, ActivationSource]) -> Generator[Event, None, ActivationSource]:
    """How far the reading is, every few seconds: of a large model it takes minutes."""
    tell = Ticker(TOLD_EVERY)
    tell.due()
    while True:
        try:
            done, rows = next(reading)
        except StopIteration as end:
            source: ActivationSource = end.value
            break
        if tell.due():
            yield Phase("reading activations", f"{site}: {done:,} of {rows:,} rows")
    if source.on_host:
        yield Warned(
            "the activations are held in the host's memory, the device has too little for them: lower params.buffer to train faster"
        )
    if source.rows_met:
        rows = len(source.held_out) // source.row_tokens
        yield Warned(
            f"{source.rows_met} of {rows} held-out rows of text stand among those trained on, token for token: "
            "the text repeats itself, and FVU and loss are better there than on new text"
        )
    return source


def _orders(poll: Callable[[], Order]) -> tuple[Callable[[], Order], Callable[[], None]]:
    """The orders for the training loop, and what acts on them between passes of the model, where no checkpoint can be written.

    There a pause waits, a stop raises Interrupted (what was trained since the last checkpoint is trained again), and a checkpoint is
    handed on to the loop.
    """
    owed = False

    def later() -> Order:
        nonlocal owed
        order = poll()
        if order == "go" and owed:
            owed, order = False, "checkpoint"
        return order

    def wait_while_paused() -> None:
        nonlocal owed
        order = next_order(poll)
        if order == "stop":
            raise Interrupted
        owed |= order == "checkpoint"

    return later, wait_while_paused


def is_small(params: sae_params.Params, width: int) -> bool:
    """Whether a step is so short that two threads would wait for each other longer than they work, and much longer on a busy machine."""
    return params.batch_size * width * max(variant.latents for variant in sae_params.variants(params, width)) < SMALL_STEP


KIND = Kind(
    name="train_sae",
    title="Train a sparse autoencoder",
    question="Which sparse features are this layer's activations made of?",
    group="Features",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=TrainSAEResult,
    headline=TrainSAEHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
