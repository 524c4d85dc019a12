"""Models in a .gguf file, quantised or not, unpacked to the dtype asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from interp_tui_engine.errors import UserError
from interp_tui_engine.models import configuration, weight_check
from interp_tui_engine.models.gguf_header import Header, read_header
from interp_tui_engine.models.loaded import LoadedModel, files_hash, finish, seeded


def load(source: str, path: Path, device: torch.device, dtype: torch.dtype, *, partial: bool = False) -> LoadedModel:
    """The model and tokenizer of a GGUF file.

    Raises UserError for a file that is cut short, is no GGUF, or holds a family transformers cannot read, where the extra is missing, and
    for weights that do not fit the configuration (unless `partial`).
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with _reading(path) as header:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        configuration.check_sizes(source, config, header.shapes(), partial=partial)
        with seeded(), _named_by_model(header) as unmapped:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path.parent, config=config, gguf_file=path.name, dtype=dtype, output_loading_info=True
            )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    module, report = loaded
    # The weights are plain tensors by now; left in place, these make transformers refuse to move or save the model.
    setattr(module, "hf_quantizer", None)  # noqa: B010 - nn.Module declares every attribute a Tensor or a Module
    setattr(module, "is_quantized", False)  # noqa: B010
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    difference = weight_check.difference(report["missing_keys"], {*report["unexpected_keys"], *unmapped})
    weight_check.check_whole(source, difference, partial=partial)
    weights_hash = files_hash([path])
    return finish(
        module, tokenizer, source=source, revision=None, device=device, dtype=dtype, weights_hash=weights_hash, difference=difference
    )


def read_config(source: str, path: Path) -> Any:
    """The configuration that a GGUF file's header makes, without its weights. Raises UserError as `load` does."""
    from transformers import AutoConfig

    with _reading(path) as header:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        configuration.check_sizes(source, config, header.shapes(), partial=False)
        return config


@contextmanager
def _reading(path: Path) -> Iterator[Header]:
    """Opens the file for what transformers reads within; its errors become a UserError."""
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise UserError(f"reading {path.name} needs the package {' and '.join(missing)}", "pip install 'interp-tui[gguf]'")
    header = read_header(path)
    try:
        with _read_once(header):
            yield header
    except UserError:
        raise
    except Exception as error:  # metadata of the wrong type, or none where it is needed, fails wherever transformers first uses it
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise UserError(f"{path}: transformers cannot read this GGUF ({reason})", "use the safetensors of the same model") from None


@contextmanager
def _read_once(header: Header) -> Iterator[None]:
    """Hand transformers a header that is parsed already: it would parse it for the configuration, the weights and the tokenizer each.

    Its values are Python's own, so that there is nothing left to convert, element by element. The table of tensor names, which transformers
    makes anew for every module of the model, is made once. It also draws a progress bar that no setting turns off once tqdm is imported.
    """
    library, conversion = (import_module(name) for name in ("gguf", "transformers.modeling_gguf_pytorch_utils"))
    with ExitStack() as patches:
        patches.enter_context(patch.object(conversion, "tqdm", lambda tensors, **_: tensors, create=True))
        patches.enter_context(patch.object(library, "get_tensor_name_map", cache(library.get_tensor_name_map)))
        if hasattr(conversion, "_gguf_parse_value"):
            patches.enter_context(patch.object(library, "GGUFReader", lambda *_: header))
            patches.enter_context(patch.object(conversion, "_gguf_parse_value", lambda value, _: value))
        yield


@contextmanager
def _named_by_model(header: Header) -> Iterator[set[str]]:
    """Inside, a set that fills with the tensors of the file that have no name in the model loaded: transformers drops those silently."""
    conversion = import_module("transformers.modeling_gguf_pytorch_utils")
    unmapped: set[str] = set()
    original = getattr(conversion, "get_gguf_hf_weights_map", None)
    if original is None:
        yield unmapped
        return

    def mapped(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        names = original(model, *arguments, **options)
        if not isinstance(options.get("qual_name"), str):  # the call for the whole model; those for its parts have a prefix
            unmapped.update(_without_name(names, header))
        return names

    with patch.object(conversion, "get_gguf_hf_weights_map", mapped):
        yield unmapped


def _without_name(names: Iterable[str], header: Header) -> Iterator[str]:
    named = set(names)
    for tensor in header.tensors:
        # experts are stored stacked, which transformers takes apart in code of each family; a convolution's axis is named otherwise too
        if tensor.name not in named and "_exps." not in tensor.name and not _is_ones(tensor):
            yield tensor.name


def _is_ones(tensor: Any) -> bool:
    """Whether a tensor changes nothing: factors of rotary frequencies that are all 1."""
    return tensor.name.startswith("rope_freqs") and bool((tensor.data == 1).all())
