"""The store of an activations run: laid out once, filled batch by batch from buffers on the host. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import BloscCodec

from ...digests import of_bytes
from ...errors import UserError
from ...models.host_ring import HostBuffers
from ...sites.site import HEADED, Site

STORE = "activations.zarr"
SIZES = "sizes"
"""Under which name a batch's `Sizes` stand in its buffers: (sites, 3)."""


class Layout(NamedTuple):
    """What is kept of each row: by site the shape of its values, and in which precision."""

    shapes: dict[Site, tuple[int, ...]]
    dtype: str
    """float32, float16 or bfloat16, which is written as float32 whose last bytes are 0."""

    @property
    def stored(self) -> torch.dtype:
        """The type of the arrays."""
        return torch.float16 if self.dtype == "float16" else torch.float32


class Sizes(NamedTuple):
    """What is known of a site's values in a batch besides themselves."""

    rms: float
    largest: float
    lost: bool
    """Whether some that are finite are not so in the store's precision."""


class Written(NamedTuple):
    """A batch that is on disk."""

    hashes: dict[str, str]
    sizes: dict[str, Sizes]
    norms: dict[str, list[list[float]]]
    """By site, the L2 norm at each position, (rows, positions); of batches that are shown."""


@final
class ActivationStore:
    """The arrays, one a site, beside the rows' token ids and texts. `write` may be called by another thread, batch after batch."""

    def __init__(self, path: Path, layout: Layout, ids: Tensor, batch_size: int, tokenizer: Any, source: str, *, begun: bool) -> None:
        self.layout, self._ids, self._tokenizer = layout, ids, tokenizer
        self._group: Any = zarr.open_group(path, mode="a" if begun else "w")
        if not begun:
            self._lay_out(batch_size, source)
        self.arrays: dict[str, Any] = {str(site): self._group[str(site)] for site in layout.shapes}

    def _lay_out(self, batch_size: int, source: str) -> None:
        rows, half = len(self._ids), self.layout.dtype == "float16"
        for site, shape in self.layout.shapes.items():
            self._group.create_array(
                str(site),
                shape=(rows, *shape),
                chunks=(batch_size, *shape),
                dtype="float16" if half else "float32",
                dimension_names=_dims(site, 1 + len(shape)),
                fill_value=float("nan"),
                compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=2 if half else 4),
                attributes={"coordinates": "input_ids text", "precision": self.layout.dtype},
            )
        tokens = self._group.create_array("input_ids", shape=tuple(self._ids.shape), dtype="int32", dimension_names=("row", "position"))
        tokens[:] = self._ids.numpy().astype("int32")
        self._group.create_array("text", shape=(rows,), chunks=(batch_size,), dtype="str", dimension_names=("row",))
        self._group.attrs.update({"kind": "activations", "sites": [str(site) for site in self.layout.shapes], "source": source})

    def write(self, rows: slice, buffers: HostBuffers, *, shown: bool) -> Written:
        """Write what arrives in the buffers. Raises UserError for values that the store's precision cannot hold."""
        buffers.wait()
        count = rows.stop - rows.start
        sizes = {}
        for site, numbers in zip(self.layout.shapes, buffers[SIZES].tolist(), strict=True):
            sizes[str(site)] = Sizes(numbers[0], numbers[1], bool(numbers[2]))
            refuse_lost(site, sizes[str(site)], self.layout.dtype)
        hashes = {}
        for name, array in self.arrays.items():
            block = buffers[name][:count].numpy()
            array[rows] = block
            hashes[name] = of_bytes(block)
        if self._tokenizer is not None:
            self._group["text"][rows] = np.array(self._tokenizer.batch_decode(self._ids[rows].tolist()), dtype=object)
        norms = {}
        if shown:
            for name in self.arrays:
                norms[name] = [[round(norm, 4) for norm in row] for row in buffers[norms_of(name)][:count].tolist()]
        return Written(hashes, sizes, norms)


def norms_of(name: str) -> str:
    """Under which name a site's norms stand in a batch's buffers."""
    return f"norms of {name}"


def refuse_lost(site: Site, sizes: Sizes, dtype: str) -> None:
    """Raise UserError where the precision has made an infinity of a number."""
    if sizes.lost:
        raise UserError(f"{site} reaches {sizes.largest:.4g}, which {dtype} cannot hold", "use dtype = 'bfloat16', as small on disk")


def in_precision(value: Tensor, dtype: str) -> Tensor:
    """A site's values rounded to a precision, in the type in which they are stored."""
    kept = value.to(getattr(torch, dtype))
    return kept.float() if dtype == "bfloat16" else kept


def sizes_of(value: Tensor, kept: Tensor) -> Tensor:
    """`Sizes` of some rows' values as numbers on their device, the mean square in place of its root: (3,)."""
    lost = ~kept.isfinite().all() & value.isfinite().all()
    return torch.stack([value.float().pow(2).mean(), value.abs().max().float(), lost.float()])


def sizes_of_parts(parts: Sequence[tuple[int, Tensor]]) -> Tensor:
    """`Sizes` of a batch's values from those of its parts, given with their rows, as numbers on their device: (..., 3)."""
    total = sum(rows for rows, _ in parts)
    square = torch.stack([rows / total * sizes[..., 0] for rows, sizes in parts]).sum(0)
    rest = torch.stack([sizes[..., 1:] for _, sizes in parts]).amax(0)
    return torch.cat([square.sqrt()[..., None], rest], dim=-1)


def token_norms(site: Site, value: Tensor) -> Tensor:
    """The L2 norm of what stands at each position, (rows, positions); of an attention pattern, over heads and keys of each query."""
    if site.name == "attn_pattern" and site.head is None:
        value = value.transpose(1, 2)
    norms: Tensor = value.float().flatten(2).norm(dim=-1)
    return norms


def _dims(site: Site, count: int) -> tuple[str, ...]:
    """Names of a store's dimensions: the same name never has two sizes in one store."""
    if site.name == "attn_pattern":
        return ("row", "head", "position", "key") if count == 4 else ("row", "position", "key")
    if site.name in HEADED:
        head = "kv_head" if site.name in ("k", "v") else "head"
        return ("row", "position", head, "head_dim") if count == 4 else ("row", "position", "head_dim")
    return ("row", "position", "neuron" if site.name == "mlp_post" else "d_model")
