"""The models that come with the package."""

from __future__ import annotations

import torch

from interp_tui_engine.models import builtin_index
from interp_tui_engine.models.loaded import LoadedModel, files_hash, finish


def load(source: str, revision: str | None, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """A builtin model at one of its training checkpoints, the last when none is named."""
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = builtin_index.weights_path(source, revision)
    folder = builtin_index.folder_of(source)
    config = LlamaConfig.from_pretrained(folder)
    module = LlamaForCausalLM(config)
    stored = {name: tensor.to(torch.float32) for name, tensor in load_file(path).items()}
    missing = module.load_state_dict(stored, strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys, missing
    module.tie_weights()
    eos = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=eos)  # type: ignore[no-untyped-call]
    return finish(
        module,
        tokenizer,
        source=source,
        revision=revision or builtin_index.FINAL,
        device=device,
        dtype=dtype,
        weights_hash=files_hash([path]),
    )
