"""The one way in which a run opens its model: threads as asked for, every key of [model], sites checked. Torch-free at import."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from .. import trust
from ..events import Event, Phase, RunStarted
from ..manifest import Manifest
from .context import Context

if TYPE_CHECKING:
    import torch

    from ..models.loaded import LoadedModel
    from ..sites.site_map import SiteMap


def use_threads(manifest: Manifest) -> int | None:
    """Let torch use as many threads as `compute.threads` says; returns that number, None where it says nothing.

    A replay takes the number that the first run recorded (`provenance`): sums are split by it.
    """
    threads = manifest.compute.threads
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return threads


def load(manifest: Manifest) -> LoadedModel:
    """The manifest's model, with every key of its [model] table. Raises UserError for what cannot be loaded."""
    from ..models.load import load_model
    from .model_code import import_model_code

    spec = manifest.model
    assert spec is not None, "the catalogue says that this kind needs a model"
    import_model_code(distributed=manifest.together > 1)
    model = load_model(
        spec.source,
        revision=spec.revision,
        device=spec.device,
        dtype=spec.dtype,
        backend=spec.backend,
        trust=trust.allowed(),
        partial=spec.partial,
        tensor=spec.devices,
    )
    compute_on(model.device, manifest)
    return model


def compute_on(device: torch.device, manifest: Manifest) -> None:
    """Have torch compute on the device as the manifest's [compute] says, for the rest of the process. Raises UserError where it cannot."""
    from ..models.device import compute_deterministically, compute_in
    from ..models.single_sequences import expect_single_sequences

    compute_deterministically(device, manifest.compute.deterministic)
    compute_in(device, manifest.compute.precision)
    if device.type != "cpu":
        expect_single_sequences()


def open_model(manifest: Manifest) -> Generator[Event, None, tuple[LoadedModel, SiteMap]]:
    """The manifest's model and its site map, whose sums have been checked on the model itself. Raises UserError, see `load`."""
    from ..sites.verify import checked_site_map

    assert manifest.model is not None, "the catalogue says that this kind needs a model"
    yield Phase("loading model", manifest.model.source)
    use_threads(manifest)
    model = load(manifest)
    return model, checked_site_map(model)


def provenance(model: LoadedModel) -> dict[str, Any]:
    """What only the worker can know of the model and of how it computes."""
    import torch

    return {"compute": {"threads": torch.get_num_threads()}, **model.identity, "device": where(model), **gpu_of(model.device)}


def where(model: LoadedModel) -> str:
    """The device that a model is on, or all of those that hold it: 'cuda:0, cuda:1', '2×cpu'."""
    return held_by(model.device, model.devices)


def held_by(first: torch.device, count: int) -> str:
    """So many devices from the first on, in words."""
    if count == 1 or first.type == "cpu":
        return str(first) if count == 1 else f"{count}×cpu"
    return ", ".join(f"{first.type}:{(first.index or 0) + rank}" for rank in range(count))


def gpu_of(device: torch.device) -> dict[str, str]:
    """What a run records of its GPU: the model, on which the last bits of its numbers depend; nothing on other devices."""
    from ..models.device import gpu_model

    model = gpu_model(device)
    return {"gpu": model} if model else {}


def run_started(context: Context, model: LoadedModel) -> RunStarted:
    """The event that a run has its model and its input, and begins."""
    manifest = context.manifest
    return RunStarted(manifest.kind, manifest.name, device=where(model), resumed=context.resumed, provenance=provenance(model))
