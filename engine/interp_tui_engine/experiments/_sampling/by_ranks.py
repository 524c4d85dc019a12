"""A sampling whose model lies on several devices: what is sampled, and how. What cuts a model up is imported by those runs only."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from ...data.rows import TokenRows
from ...events import Event
from ...manifest import Manifest
from ...models import without_weights
from ...models.loaded import LoadedModel
from ...models.restrictions.masks import masks_of, selection_of
from ...models.restrictions.patterns import as_taken
from ...runtime import open_model
from ...runtime.context import Context, Ticker
from ...runtime.model_code import import_model_code
from ...samplers.chains.executor import Executor
from ...samplers.chains.run import Command
from ...samplers.target.parameters import named_parameters
from ...samplers.target.restricted import slices_of
from . import ObservingParams, SamplingParams

if TYPE_CHECKING:
    from ...samplers.sharded.ranks import Ranks
    from ...samplers.sharded.target import ShardedTarget


def problem_of(manifest: Manifest, model: LoadedModel, rows: Mapping[str, TokenRows], ranks: Ranks) -> ShardedTarget:
    """The model's losses with those weights free that the restriction names, after the model was cut up over the ranks."""
    from ...models import sharding
    from ...samplers.sharded.target import ShardedTarget

    params: ObservingParams = manifest.params
    restriction = params.restriction if isinstance(params, SamplingParams) else "full"
    asked = None if restriction == "full" else masks_of(selection_of(model.module, as_taken(restriction, params.grouped_heads)))
    parameters, masks = named_parameters(model.module, asked)
    slices = {} if masks is None else slices_of(model.module, parameters, masks)
    del parameters  # what is cut up now is to be given back
    sharding.shard(model.module, ranks.mesh)
    observables = {name: (rows[name].ids.long(), count) for name, count in params.observables.items()}
    sampled = rows[params.sampling_data].ids.long()
    return ShardedTarget(model.module, sampled, observables, params.batch_size, ranks, masks, params.obs_seed, slices)


def executor_of(manifest: Manifest, ranks: Ranks) -> Executor:
    """Chains one after another; of the machine's cores each rank has its part."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, (manifest.compute.threads or cores) // ranks.count)
    return Executor("serial", 1, threads, 1, 1, "philox")


Loaded = tuple[LoadedModel, dict[str, TokenRows]]
Load = Callable[[Manifest], Generator[Event, None, Loaded]]


def on_host(manifest: Manifest) -> Manifest:
    """The manifest with its model in host memory: each device takes its part from there."""
    assert manifest.model is not None, "the catalog says that sampling needs a model"
    return manifest.model_copy(update={"model": manifest.model.model_copy(update={"device": "cpu"})})


def loaded_once(load: Load, manifest: Manifest, ranks: Ranks) -> Generator[Event, None, Loaded]:
    """What rank 0 loads, on all ranks; its weights stay where they are until the model is cut up (`sharding.shard`).

    So a node's memory holds the model once, however many ranks there are. A model with code of its own, or one that cannot be told to
    another process, is loaded by each.
    """
    open_model.compute_on(ranks.own_device, manifest)
    if ranks.rank == 0:
        model, rows = yield from load(on_host(manifest))
        layout = None if model.trusted else without_weights.packed(model.module)
        ranks.told(None if layout is None else (layout, replace(model, module=nn.Module(), tokenizer=None), rows))
        return model, rows
    import_model_code(distributed=True)
    told = ranks.told(None)
    if told is None:
        return (yield from load(on_host(manifest)))
    layout, model, rows = told
    return replace(model, module=without_weights.unpacked(layout)), rows


def ranks_of(context: Context) -> AbstractContextManager[Ranks | None]:
    """The processes that hold the model together; None where one device does."""
    if context.manifest.compute.gpus_per_worker < 2:
        return nullcontext(None)
    from ...runtime import ranks

    return ranks.together(context)


def meet(ranks: Ranks | None) -> None:
    """Let nobody leave before all have come here."""
    if ranks is not None:
        ranks.meet()


def agreed_order(context: Context, ranks: Ranks, every: float) -> Callable[[], Command]:
    """What the worker is asked to do, and every so many seconds a checkpoint, told to all ranks at the same step."""
    orders, checkpoint = list(Command), Ticker(every)

    def asked() -> int:
        order = Command(context.poll())
        return orders.index(Command.CHECKPOINT if order is Command.GO and checkpoint.due() else order)

    agreed = ranks.agreeing(asked)
    return lambda: orders[agreed()]
