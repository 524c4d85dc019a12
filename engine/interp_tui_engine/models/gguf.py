"""Models in a .gguf file, quantised or not, unpacked to the dtype asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.loaded import LoadedModel, files_hash, finish

_MAGIC = b"GGUF"


def load(source: str, path: Path, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """The model and tokenizer of a GGUF file.

    Raises UserError for a file that is cut short, is no GGUF, or holds a family transformers cannot read, and where the extra is missing.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _reading(path):
        module = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # The weights are plain tensors by now; left in place, these make transformers refuse to move or save the model.
    setattr(module, "hf_quantizer", None)  # noqa: B010 - nn.Module declares every attribute a Tensor or a Module
    setattr(module, "is_quantized", False)  # noqa: B010
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    return finish(module, tokenizer, source=source, revision=None, device=device, dtype=dtype, weights_hash=files_hash([path]))


def read_config(path: Path) -> Any:
    """The configuration that a GGUF file's header makes, without its weights. Raises UserError as `load` does."""
    from transformers import AutoConfig

    with _reading(path):
        return AutoConfig.from_pretrained(path.parent, gguf_file=path.name)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Opens the file for what transformers reads within; its validation errors become a UserError."""
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise UserError(f"reading {path.name} needs the package {' and '.join(missing)}", "pip install 'interp-tui[gguf]'")
    reader = open_complete(path)
    try:
        with _read_once(reader):
            yield
    except (ValueError, KeyError, NotImplementedError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: transformers cannot read this GGUF ({reason})", "use the safetensors of the same model") from None


@contextmanager
def _read_once(reader: Any) -> Iterator[None]:
    """Transformers parses a file's header, seconds of work, for the configuration, the weights and the tokenizer each: hand it ours.

    It also draws a progress bar that no setting turns off once tqdm is imported.
    """
    library, conversion = (import_module(name) for name in ("gguf", "transformers.modeling_gguf_pytorch_utils"))
    no_bar = patch.object(conversion, "tqdm", lambda tensors, **_: tensors, create=True)
    with patch.object(library, "GGUFReader", lambda *_: reader), no_bar:
        yield


def open_complete(path: Path) -> Any:
    """The `gguf.GGUFReader` of a file; UserError unless it is a GGUF as long as its header says its tensors are."""
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise UserError(f"{path} is not a GGUF file: it begins with {magic!r}", "fetch it again")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        needed = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except Exception as error:  # a header that ends early fails wherever the reader happens to be: IndexError, ValueError, MemoryError ...
        raise UserError(f"{path} is cut short or damaged: {type(error).__name__} in its header or tensors", "fetch it again") from None
    size = path.stat().st_size
    if size < needed:
        raise UserError(f"{path} is cut short: {size:,} bytes of {needed:,}", "fetch it again")
    return reader
