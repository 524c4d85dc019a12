"""What a loader hands back, and the hashes by which a run says what it ran on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models import tensor_parallel
from interp_tui_engine.models.weight_check import WHOLE, Difference, check_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model, ready to be looked into: in eval mode, its parameters not asking for gradients.

    `module(input_ids (batch, tokens)).logits` is `(batch, tokens, vocab_size)`. `weights_hash` is a sha256 over the files the weights came
    from, `tokenizer_hash` one over the tokenizer's definition (empty without a tokenizer); `revision` is what was loaded, where the source
    has revisions.
    """

    module: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    source: str
    revision: str | None
    device: torch.device
    dtype: torch.dtype
    weights_hash: str
    tokenizer_hash: str
    vocab_size: int
    num_parameters: int
    difference: Difference = WHOLE
    """How the files and the model differ, where that was allowed; what was missing is random."""
    native: Any = None
    """The backend's own model where another than transformers runs it: a TransformerBridge, or nnsight's TransformersModel."""
    trusted: bool = False
    """Whether it could run code: its weights were pickles, or its code is its own."""

    @property
    def devices(self) -> int:
        """How many devices hold it together."""
        if not tensor_parallel.is_split(self.module):
            return 1
        import torch.distributed as dist

        return dist.get_world_size()

    @property
    def identity(self) -> dict[str, Any]:
        """What a run records of the model it ran on."""
        partial = {"partial_weights": self.difference.as_json()} if self.difference else {}
        hashes = {"weights_sha256": self.weights_hash, "tokenizer_sha256": self.tokenizer_hash}
        trusted = {"trusted": True} if self.trusted else {}
        return {**hashes, "parameters": self.num_parameters, **partial, **trusted}


def finish(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    source: str,
    revision: str | None,
    device: torch.device,
    dtype: torch.dtype,
    weights_hash: str,
    difference: Difference = WHOLE,
    trusted: bool = False,
) -> LoadedModel:
    """Move a freshly loaded module to its device and freeze it.

    Parameters take the dtype asked for. Buffers keep the one the model gave them: rounding RoPE's inv_freq to bfloat16 turns late positions
    by whole radians. Raises UserError for weights that are NaN or infinite.
    """
    module.to(device=device)  # type: ignore[call-arg]
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    check_finite(source, module, dtype)
    module.train(False).requires_grad_(False)
    embeddings = module.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    if tokenizer is not None:
        check_tokenizer(source, tokenizer, embeddings.num_embeddings)
    return LoadedModel(
        module=module,
        tokenizer=tokenizer,
        source=source,
        revision=revision,
        device=device,
        dtype=dtype,
        weights_hash=weights_hash,
        tokenizer_hash=tokenizer_hash(tokenizer),
        vocab_size=embeddings.num_embeddings,
        num_parameters=sum(p.numel() for p in module.parameters()),
        difference=difference,
        trusted=trusted,
    )


def check_tokenizer(source: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Raise UserError for a tokenizer that gives tokens the model has no embedding of: it is another model's.

    Tokens added beside its vocabulary may be more than the model knows, as many published ones are; those that begin and end texts may not.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    own = backend.get_vocab(with_added_tokens=False) if backend is not None else tokenizer.get_vocab()
    ends = [number for number in (tokenizer.bos_token_id, tokenizer.eos_token_id) if isinstance(number, int)]
    top = max([*own.values(), *ends], default=-1)
    if top >= vocabulary:
        raise UserError(
            f"{source}: its tokenizer gives token {top:,}, but the model knows {vocabulary:,}", "take the model's own tokenizer"
        )
    if not isinstance(tokenizer.model_max_length, (int, float)):
        raise UserError(f"{source}: model_max_length in tokenizer_config.json is no number", "fetch it again")


@contextmanager
def seeded() -> Iterator[None]:
    """Inside, torch's random numbers are the same each time; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def files_hash(paths: Iterable[Path]) -> str:
    """sha256 over the contents of files; where they stand and what they are called does not enter, their order does.

    One file's hash is its plain sha256, which the hub's cache already knows: there a file is a link to a blob named by it.
    """
    digests = [_file_hash(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase | None) -> str:
    """sha256 over a fast tokenizer's whole definition, over the vocabulary of a slow one."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    definition = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(definition.encode()).hexdigest()


def _file_hash(path: Path) -> str:
    if path.is_symlink() and _SHA256.fullmatch(path.resolve().name):
        return path.resolve().name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
