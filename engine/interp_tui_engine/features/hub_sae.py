"""Chosen latents of dictionaries that others have published: their decoder rows, read in place on a model hub.

SAE Lens: a folder with cfg.json and sae_weights.safetensors, W_dec (latents, width). Gemma Scope: params.npz with W_dec (latents, width).
Qwen-Scope: layerN.sae.pt with W_dec (width, latents); only numbers are read of it, nothing in it is run.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from ..errors import UserError
from ..untrusted import parse_json
from . import ids
from .evidence import Evidence
from .remote_file import HubFile, read_all

CONFIG_BYTES, HEADER_BYTES, BLOCK_BYTES = 1 << 20, 16 << 20, 16 << 20
_SAFETENSORS = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
_TORCH = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "BFloat16Storage": "<u2"}


class Matrix(NamedTuple):
    """Where W_dec lies in a file: from which byte on, of what type, in which shape; `rows` tells whether latents are its rows."""

    at: int
    dtype: str
    shape: tuple[int, int]
    rows: bool

    @property
    def latents(self) -> int:
        """How many latents it has."""
        return self.shape[0] if self.rows else self.shape[1]


def saelens(repo: str, folder: str, chosen: Sequence[int], model: str | None, before: Callable[[], None], **options: Any) -> list[Evidence]:
    """Latents of a dictionary in SAE Lens's layout. Raises RunFailed where the hub cannot be used, UserError for what is no such file."""
    prefix = f"{folder}/" if folder else ""
    try:
        config = parse_json(read_all(HubFile(repo, f"{prefix}cfg.json", **options), CONFIG_BYTES))
    except ValueError as error:
        raise UserError(f"{repo}/{prefix}cfg.json is no JSON: {error}") from None
    about = config.get("metadata") if isinstance(config.get("metadata"), dict) else config
    file = HubFile(repo, f"{prefix}sae_weights.safetensors", **options)
    where = str(about.get("hook_name") or folder)
    return _evidence(file, _safetensors(file), chosen, str(model or about.get("model_name") or repo), where, "saelens", repo, before)


def scope(
    suite: str, repo: str, path: str, chosen: Sequence[int], model: str | None, before: Callable[[], None], **options: Any
) -> list[Evidence]:
    """Latents of a suite: `path` is the folder of a Gemma Scope params.npz, or a Qwen-Scope layer's file. Raises as `saelens` does."""
    if suite == "gemma-scope":
        file = HubFile(repo, path if path.endswith(".npz") else f"{path}/params.npz", **options)
        return _evidence(file, _npz(file), chosen, model or repo, path, suite, repo, before)
    file = HubFile(repo, path if path.endswith(".pt") else f"{path}.sae.pt", **options)
    return _evidence(file, _torch_file(file), chosen, model or repo, path, suite, repo, before)


def _evidence(
    file: HubFile, matrix: Matrix, chosen: Sequence[int], model: str, where: str, source: str, repo: str, before: Callable[[], None]
) -> list[Evidence]:
    wrong = [index for index in chosen if not 0 <= index < matrix.latents]
    if wrong:
        raise UserError(f"latent {wrong[0]} is not in {repo}: its {matrix.latents:,} are 0 to {matrix.latents - 1}")
    layer = _layer_of(where)
    rows = decoder_rows(file, matrix, chosen, before)
    return [
        Evidence(
            feature_id=ids.latent(layer, index) if layer is not None else f"SAE:{where}:F{index}",
            model=model,
            layer=layer,
            decoder_signature=tuple(row.tolist()),
            source=source,
            metadata={"repo": repo, "sae": where, "latents": matrix.latents, "decoder_norm": float(np.linalg.norm(row))},
        )
        for index, row in zip(chosen, rows, strict=True)
    ]


def decoder_rows(file: HubFile, matrix: Matrix, chosen: Sequence[int], before: Callable[[], None]) -> Float32[np.ndarray, "chosen width"]:
    """The chosen latents' rows: each by itself, or, where latents are columns, gathered while the matrix passes by in blocks.

    Shape (chosen, width). Raises UserError for numbers that are not finite.
    """
    size, (height, width) = np.dtype(matrix.dtype).itemsize, matrix.shape
    parts = []
    if matrix.rows:
        for index in chosen:
            before()
            start = matrix.at + index * width * size
            parts.append(_numbers(file.part(start, start + width * size), matrix.dtype))
        rows = np.stack(parts)
    else:
        step = max(1, BLOCK_BYTES // (width * size))
        for first in range(0, height, step):
            before()
            count = min(step, height - first)
            start = matrix.at + first * width * size
            block = _numbers(file.part(start, start + count * width * size), matrix.dtype).reshape(count, width)
            parts.append(block[:, list(chosen)])
        rows = np.concatenate(parts).T
    if not np.isfinite(rows).all():
        raise UserError(f"{file.url} holds numbers that are not finite")
    return rows


def _numbers(data: bytes, dtype: str) -> Float32[np.ndarray, " n"]:
    values = np.frombuffer(data, dtype)
    if dtype == "<u2":  # bfloat16: the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def _safetensors(file: HubFile) -> Matrix:
    (length,) = struct.unpack("<Q", file.part(0, 8)) if file.size >= 8 else (0,)
    if not 2 <= length <= min(HEADER_BYTES, file.size):
        raise UserError(f"{file.url} is no safetensors file")
    try:
        entry = parse_json(file.part(8, 8 + length))["W_dec"]
        return _matrix(file, 8 + length + entry["data_offsets"][0], _SAFETENSORS[entry["dtype"]], tuple(entry["shape"]), rows=True)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file.url} has no W_dec that can be read ({type(error).__name__}: {error})") from None


def _npz(file: HubFile) -> Matrix:
    try:
        with zipfile.ZipFile(file) as archive, archive.open("W_dec.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
            at = _stored_at(file, archive.getinfo("W_dec.npy")) + member.tell()
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{file.url} has no W_dec that can be read ({error})") from None
    if fortran or dtype.kind != "f":
        raise UserError(f"{file.url}: W_dec is of a layout that cannot be read")
    return _matrix(file, at, dtype.str, shape, rows=True)


def _torch_file(file: HubFile) -> Matrix:
    """Where torch.save has put W_dec. Its index is a pickle: of that only tensors' places are read, and any other name is refused."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as index:
                kind, key, offset, shape, stride = _Index(index).load()["W_dec"]
            at = _stored_at(file, archive.getinfo(name.replace("data.pkl", f"data/{key}")))
        if tuple(stride) != (shape[1], 1):
            raise ValueError("its numbers are not in order")
        dtype = _TORCH[kind]
        return _matrix(file, at + offset * np.dtype(dtype).itemsize, dtype, tuple(shape), rows=False)
    except (zipfile.BadZipFile, pickle.UnpicklingError, StopIteration, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file.url} has no W_dec that can be read ({error})") from None


class _Index(pickle.Unpickler):
    """Reads a torch index without torch: a tensor becomes (storage kind, key, offset, shape, stride)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: (*storage, offset, shape, stride)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TORCH:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in it")

    def persistent_load(self, key: Any) -> Any:
        return key[1], key[2]


def _stored_at(file: HubFile, entry: zipfile.ZipInfo) -> int:
    """The byte at which a member's data begin. Raises ValueError for one that is compressed."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    name, extra = struct.unpack("<HH", file.part(entry.header_offset + 26, entry.header_offset + 30))
    return int(entry.header_offset + 30 + name + extra)


def _matrix(file: HubFile, at: int, dtype: str, shape: Any, *, rows: bool) -> Matrix:
    if len(shape) != 2 or at + math.prod(shape) * np.dtype(dtype).itemsize > file.size:
        raise ValueError(f"its shape {tuple(shape)} does not fit the file")
    return Matrix(at, dtype, (int(shape[0]), int(shape[1])), rows)


def _layer_of(where: str) -> int | None:
    """The layer in `blocks.6.hook_resid_post`, `layer_20/width_16k/…` or `layer7.sae.pt`."""
    match = re.search(r"(?:blocks\.|layers?[._]?)(\d+)", where)
    return int(match[1]) if match else ids.layer_of(where)
