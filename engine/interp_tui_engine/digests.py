"""sha256 digests of what a run wrote, which `replay --check` compares. Torch-free.

They stand in the manifests of finished runs: a formula that changes makes every replay of an older run of its kind disagree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def of_array(values: NDArray[Any]) -> str:
    """Of an array's dtype, shape and C-order bytes."""
    return of_blocks(values.dtype.str, values.shape, [values])


def of_blocks(dtype: str, shape: Sequence[int], blocks: Iterable[NDArray[Any]]) -> str:
    """`of_array` of an array that comes in blocks, in C order, so that it need not fit into memory."""
    sha = hashlib.sha256(f"{dtype}{list(shape)}".encode())
    for block in blocks:
        sha.update(block.tobytes())  # C order, whatever the order in memory
    return sha.hexdigest()


def of_step_array(values: NDArray[Any]) -> str:
    """`of_array` with the shape spelled as a tuple. A formula of its own only because manifests of finished runs of steps hold it."""
    return hashlib.sha256(f"{values.dtype.str}{tuple(values.shape)}".encode() + values.tobytes()).hexdigest()


def of_bytes(values: NDArray[Any]) -> str:
    """Of an array's C-order bytes alone, where its kind fixes dtype and shape; kept, too, for the manifests that hold it."""
    return hashlib.sha256(values.tobytes()).hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """Of texts one after another, such as the digests of the parts of a whole."""
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def of_json(value: Any, *, sort_keys: bool = True) -> str:
    """Of a value as JSON text, with the keys of its objects in order unless they are said to be in theirs."""
    return hashlib.sha256(json.dumps(value, sort_keys=sort_keys).encode()).hexdigest()
