"""Where the activations of a train_sae run come from: a model, a record file or a store. Imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from ...data.rows import TokenRows
from ...dictionaries.reservoir import Reservoir
from ...dictionaries.side_stream import CudaStreams, SideStream
from ...dictionaries.stream import Held, ShuffleBuffer, Stream, keyed_generator
from ...errors import UserError
from ...features.record_site import hidden_layer
from ...features.records import RecordReader
from ...models.device import free_memory
from ...models.loaded import LoadedModel
from ...sites.hooks import Edit, edited
from ...sites.row_memory import fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap
from .._features.evidence_files import file_of
from .activation_reader import ActivationReader, chunks
from .params import Params

LIVE_ROWS = 16
"""Rows of the held-out text on which the loss is measured on the way; at the end it is on all of them."""
COPIES = 2.5
"""Of the activations held: they, the window that replaces them, and half a window made ahead."""
MOST_OF_DEVICE = 0.5
"""Of a device's free memory, for activations; the rest is the model's and the training's."""
HELD_OUT_TOKENS = 65_536
"""Most activations that are kept to measure on."""


Rows = Float64[np.ndarray, " rows"]


class Losses(ABC):
    """What the model's own loss says about a dictionary."""

    @abstractmethod
    def measure(self, reconstruct: Callable[[Tensor], Tensor], *, live: bool) -> Mapping[str, Rows]:
        """Each row's mean next-token cross-entropy in nats, clean and with the reconstruction, zeros or the mean in place; and the KL.

        `live`: on a few rows, and without the mean and the KL, which cost passes of the model.
        """


@dataclass(frozen=True)
class ActivationSource:
    """Activations to train on and to measure on, as they are in the model; `losses` where there is a model to ask."""

    width: int
    tokens: int
    """How many different activations there are to train on."""
    stream: Stream
    sample: Float[Tensor, "n d"]
    """Some of them, from which scale and starting point are taken."""
    held_out: Float[Tensor, "n d"]
    device: torch.device
    about: Mapping[str, Any]
    """For cfg.json: model_name, hook_name, context_size, …"""
    provenance: Mapping[str, Any]
    losses: Losses | None
    row_tokens: int = 1
    """Activations of one row of text among those held out, which stand row by row."""
    rows_met: int = 0
    """Held-out rows of text that stand among the others too, token for token."""
    on_host: bool = False
    """Whether the activations to train on lie in the host's memory because the device has too little."""


def from_model(
    params: Params,
    seed: int,
    model: LoadedModel,
    site_map: SiteMap,
    site: Site,
    data: Sequence[TokenRows],
    wait_while_paused: Callable[[], None],
) -> Generator[tuple[int, int], None, ActivationSource]:
    """Activations at `site` of the rows; a random share of the rows is held out. Yields how many rows are read, of how many.

    `wait_while_paused` is called before each pass of the model, now and whenever the stream reads on: a place to act on orders. Raises
    UserError where the site does not fit the model.
    """
    site_map.check(site)
    context = data[0].context
    for rows in data:
        _check_rows(rows, model, site_map)
    ids = torch.cat([rows.ids.long() for rows in data])
    if len(ids) < 2:
        raise UserError(f"data.{data[0].name} makes one row of {context + 1} tokens", "two are needed: some are held out")
    places = slice(-1, None) if params.positions == "last" else slice(params.skip_positions, None)
    positions = len(range(*places.indices(context)))
    order = torch.randperm(len(ids), generator=keyed_generator(seed, -1))
    held = max(1, min(round(params.validation * len(ids)), HELD_OUT_TOKENS // positions, len(ids) - 1))
    held_ids, train_ids = ids[order[:held].sort().values], ids[order[held:].sort().values]
    reader = ActivationReader(site_map, model.device, site, places, wait_while_paused)
    tokens = len(train_ids) * positions
    on_host = too_large(min(tokens, params.buffer), site_map.d_model, model.device)
    if tokens <= params.buffer:
        parts = []
        for part in torch.split(train_ids, reader.rows(context)):
            read = reader.read(part)
            parts.append(read.cpu() if on_host else read)
            yield sum(map(len, parts)) // positions, len(ids)
        everything = torch.cat(parts)
        stream: Stream = Held(everything, seed, model.device if on_host else None)
        sample = everything[torch.randperm(len(everything), generator=keyed_generator(seed, -2))[:16_384].to(everything.device)]
    else:
        chunk, begin = chunks(reader, train_ids, seed)
        ahead = SideStream(CudaStreams(model.device), begin) if model.device.type == "cuda" else None
        stream = ShuffleBuffer(chunk, params.buffer, seed, ahead, on_host=on_host)
        sample = chunk(0)
    about = {
        "model_name": model.source,
        "model_revision": model.revision,
        "hook_name": hook_name(site),
        "site": str(site),
        "context_size": context,
        "prepend_bos": all(rows.bos for rows in data),
        "dataset_path": ", ".join(rows.source for rows in data),
        "seqpos_slice": [places.start, None],
    }
    provenance = {
        **model.identity,
        "datasets": {rows.name: rows.fingerprint for rows in data},
    }
    held_out = torch.cat([reader.read(part) for part in torch.split(held_ids, reader.rows(context))])
    losses = _ModelLosses(model, reader, held_ids, held_out.mean(0))
    met = _rows_met(held_ids, train_ids)
    sample = sample.to(model.device)
    return ActivationSource(
        sample.shape[1], tokens, stream, sample, held_out, model.device, about, provenance, losses, positions, met, on_host
    )


def too_large(rows: int, width: int, device: torch.device) -> bool:
    """Whether so many activations are more than their part of a device's free memory; never on a CPU, where there is no other place."""
    return device.type != "cpu" and COPIES * 4 * rows * width > MOST_OF_DEVICE * free_memory(device)


def _rows_met(held_ids: Tensor, train_ids: Tensor) -> int:
    """How many held-out rows are in training as well: text that repeats itself, or is given twice."""
    held = [row.tobytes() for row in held_ids.numpy()]
    met = set(held).intersection(row.tobytes() for row in train_ids.numpy())
    return sum(row in met for row in held)


def _check_rows(rows: TokenRows, model: LoadedModel, site_map: SiteMap) -> None:
    """Raise UserError for rows that are longer than the model reads, or of another model's tokens."""
    if site_map.context is not None and rows.context > site_map.context:
        raise UserError(f"data.{rows.name}.context = {rows.context}, but the model has {site_map.context} positions", "lower context")
    top = int(rows.ids.max())
    if top >= model.vocab_size:
        raise UserError(
            f"data.{rows.name} holds token id {top}, but the model knows {model.vocab_size} tokens", "was it made for another model?"
        )


def from_records(params: Params, seed: int, device: torch.device) -> ActivationSource:
    """A row a record, a column a feature, in the order in which the file first names them."""
    assert params.records is not None
    reader = RecordReader([file_of(params.records, "records")], model=params.records_model)
    reservoir = Reservoir(params.max_records, seed)
    for block in reader.blocks():
        reservoir.add(block.starts, block.features, block.values)
    layer = hidden_layer(reader.names, reader.about)
    place = {} if layer is None else {"hook_name": hook_name(Site("resid_post", layer))}
    about = {"model_name": reader.model, "source_features": reader.names, "dataset_path": params.records, **place}
    provenance = {"records": {"rows": reservoir.seen, "kept": min(reservoir.seen, params.max_records or reservoir.seen)}}
    return _from_matrix(params, seed, torch.from_numpy(reservoir.matrix(len(reader.names))), device, about, provenance, params.records)


def from_store(params: Params, seed: int, device: torch.device) -> ActivationSource:
    """Rows of a stored array (…, width); all axes but the last count activations."""
    assert params.store is not None
    path = Path(params.store)
    rows = torch.from_numpy(np.array(_stored(path), dtype=np.float32))
    return _from_matrix(params, seed, rows.reshape(-1, rows.shape[-1]), device, {"dataset_path": str(path)}, {}, str(path))


def hook_name(site: Site) -> str:
    """What TransformerLens and SAE Lens call the site."""
    inside = {"q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v", "z": "attn.hook_z", "mlp_post": "mlp.hook_post"}
    return "hook_embed" if site.name == "embed" else f"blocks.{site.layer}.{inside.get(site.name, f'hook_{site.name}')}"


def _from_matrix(
    params: Params, seed: int, rows_ND: Tensor, device: torch.device, about: Mapping[str, Any], provenance: Mapping[str, Any], where: str
) -> ActivationSource:
    if rows_ND.shape[0] < 2 or rows_ND.shape[1] < 1:
        raise UserError(f"{where} holds {rows_ND.shape[0]} activations of width {rows_ND.shape[1]}", "two are needed: some are held out")
    bad = (~torch.isfinite(rows_ND)).any(1).nonzero()
    if len(bad):
        raise UserError(f"{where}: activation {int(bad[0])} of {len(rows_ND)} holds a value that is not finite ({len(bad)} such)")
    order = torch.randperm(len(rows_ND), generator=keyed_generator(seed, -1))
    held = min(len(rows_ND) - 1, max(1, round(params.validation * len(rows_ND))))
    held_out, train = rows_ND[order[:held]].to(device), rows_ND[order[held:]].to(device)
    return ActivationSource(train.shape[1], len(train), Held(train, seed), train[:16_384], held_out, device, about, provenance, None)


def _stored(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            import zarr

            array = zarr.open(str(path), mode="r")
            if isinstance(array, zarr.Group):
                names = ", ".join(sorted(array.array_keys())) or "none"
                raise UserError(f"{path} is a group of arrays", f"name one of them, as {path}/NAME: {names}")
            array = array[...]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} holds no array that can be read: {error}", "give a .npy file or a Zarr array") from None
    if array.ndim < 2 or array.dtype.kind != "f":
        raise UserError(f"{path} is {array.dtype}{list(array.shape)}", "activations are floats with two axes or more, the last their width")
    return array


class _ModelLosses(Losses):
    def __init__(self, model: LoadedModel, reader: ActivationReader, ids: Tensor, mean_D: Tensor) -> None:
        self._model, self._reader, self._ids, self._mean = model, reader, ids, mean_D
        self._known: dict[tuple[str, int], Rows] = {}
        self._together = fitting_rows(reader.site_map, ids.shape[1], len(ids), logits=4 * ids.shape[1])  # some copies of them

    def measure(self, reconstruct: Callable[[Tensor], Tensor], *, live: bool) -> Mapping[str, Rows]:
        # held-out rows are in the order of the text: every n-th is a sample of all of it
        ids = self._ids[:: max(1, len(self._ids) // LIVE_ROWS)][:LIVE_ROWS] if live else self._ids
        changes = {"ce_zero": torch.zeros_like, "ce_mean": lambda flat: self._mean.to(flat.dtype).expand_as(flat)}
        for name, change in {"ce_clean": None, **changes}.items():  # the same whatever the dictionary
            if (name, len(ids)) not in self._known and not (live and name == "ce_mean"):
                self._known[name, len(ids)] = self._over(ids, change)[0]
        loss, divergence = self._over(ids, reconstruct, beside_clean=not live)
        known = {name: value for (name, count), value in self._known.items() if count == len(ids)}
        return known | {"ce_sae": loss} | ({} if live else {"kl": divergence})

    @torch.no_grad()
    def _over(self, ids: Tensor, change: Callable[[Tensor], Tensor] | None, *, beside_clean: bool = False) -> tuple[Rows, Rows]:
        """Each row's mean loss at the positions changed, and, where asked for, its mean KL from the clean model's predictions there."""
        places, site = self._reader.places, self._reader.site

        def changed(value: Tensor) -> Tensor:
            assert change is not None
            inner = value[:, places]
            new = value.clone()
            new[:, places] = change(inner.flatten(0, 1).flatten(1).float()).reshape(inner.shape).to(value.dtype)
            return new

        def of_rows(some: Tensor) -> tuple[Tensor, Tensor]:
            rows = some.to(self._model.device)
            with edited(self._reader.site_map, [] if change is None else [Edit(site, changed)]):
                logits = self._model.module(rows[:, :-1]).logits[:, places].float().flatten(0, 1)
            loss = F.cross_entropy(logits, rows[:, 1:][:, places].flatten(), reduction="none").reshape(len(rows), -1).mean(1)
            if not beside_clean:
                return loss, loss[:0]
            # a pass more
            clean = self._model.module(rows[:, :-1]).logits[:, places].float().flatten(0, 1).log_softmax(-1)
            tokens = F.kl_div(logits.log_softmax(-1), clean, reduction="none", log_target=True).sum(1)
            return loss, tokens.reshape(len(rows), -1).mean(1)

        parts = [done for _, done in self._together.each(ids, of_rows)]
        loss, divergence = (torch.cat(rows).double().cpu().numpy() for rows in zip(*parts, strict=True))
        return loss, divergence
