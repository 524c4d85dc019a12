"""Reads arrays that a run left in its folder. Headless, and slow as disks are: call from a worker thread.

zarr takes half a second to import, so that is done when the first array is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp_tui_engine import atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST = 1 << 31
"""Bytes of what is read at once."""


def read_array(path: Path, name: str, *index: int | slice) -> NDArray[np.generic] | None:
    """A region of an array in the Zarr store at `path`, all of it without an index; None where there is no such array (yet).

    Of a region, or a chunk, of more than `LARGEST` bytes there is none either: no run of ours shows so much, and the sizes stand in a file
    that somebody else may have written.
    """
    if not (path / name / "zarr.json").is_file():
        return None
    import zarr

    try:
        array: Any = zarr.open_array(path / name, mode="r")
        if max(math.prod(array.chunks), _asked(array.shape, index)) * array.dtype.itemsize > LARGEST:
            return None
        found: NDArray[np.generic] = array[index or ...]
    except Exception:  # being written, cut short, or another run's: its library raises whatever it meets in a damaged file
        return None
    return found


def _asked(shape: Sequence[int], index: Sequence[int | slice]) -> int:
    """How many values a region holds."""
    whole = [slice(None)] * (len(shape) - len(index))
    parts = zip(shape, (*index, *whole), strict=True)
    return math.prod(len(range(*part.indices(size))) for size, part in parts if isinstance(part, slice))


def read_tokens(folder: Path) -> dict[int, str]:
    """What the tokens of a run's data say (its tokens.json), as the model's tokenizer has them: not yet sanitised."""
    record = atomic.read_json(folder / "tokens.json")
    if not isinstance(record, dict):
        return {}
    return {int(key): str(text) for key, text in record.items() if key.isdigit()}


def identifier(name: str) -> str:
    """What a run's arrays call a data set; their order is that of these identifiers."""
    plain = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return "_" + plain if plain[:1].isdigit() else plain
