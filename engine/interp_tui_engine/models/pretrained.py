"""Models that `transformers` saved: a folder on disk, or an id on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models import configuration, tensor_parallel, weight_check, weight_files
from interp_tui_engine.models.loaded import LoadedModel, files_hash, finish, seeded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROBE_SECONDS = 5.0
# What loading may read: never a second copy of the weights in another framework's format.
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def load_folder(
    source: str,
    folder: Path,
    revision: str | None,
    device: torch.device,
    dtype: torch.dtype,
    *,
    trust: bool,
    partial: bool = False,
    tensor: int = 1,
) -> LoadedModel:
    """The model, and the tokenizer if there is one, that `save_pretrained` left in a folder.

    Raises UserError for a folder without configuration or weights, with pickled weights only (unless trusted), with code of its own (unless
    trusted), with a model that does not predict the next token, or with weights that do not fit its configuration (unless `partial`).
    """
    config = configuration.read_config(source, folder)
    configuration.check_causal(source, config, trust=trust)
    files = weight_files.of_folder(source, folder, trust=trust)
    built = configuration.build(source, folder, config, trust=trust)
    own_code = trust and "auto_map" in config
    if files.safe and not own_code:
        configuration.check_sizes(source, built, files.tensors(), partial=partial)
    plan = tensor_parallel.plan_of(configuration.lay_out(source, built), tensor) if tensor > 1 else {}
    parts = tensor_parallel.loading(tensor, device)
    module, difference = _module(source, folder, built, dtype, parts, safe=files.safe, trust=trust)
    if parts:
        tensor_parallel.mark(module, plan)
    weight_check.check_whole(source, difference, partial=partial)
    return finish(
        module,
        _tokenizer(source, folder, trust=trust),
        source=source,
        revision=revision,
        device=device,
        dtype=dtype,
        weights_hash=files_hash([*files.paths, *(sorted(folder.glob("*.py")) if own_code else [])]),
        difference=difference,
        trusted=own_code or not files.safe,
    )


def _module(
    source: str, folder: Path, config: Any, dtype: torch.dtype, parts: dict[str, Any], *, safe: bool, trust: bool
) -> tuple[PreTrainedModel, weight_check.Difference]:
    """The model with the weights of the folder, and how they differ from what it needs; what is missing is random, the same each time."""
    from transformers import AutoModelForCausalLM

    try:
        with seeded():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                trust_remote_code=trust,
                use_safetensors=safe,
                local_files_only=True,
                output_loading_info=True,
                **parts,
            )
    except Exception as error:  # a damaged file fails in safetensors, torch, json or transformers, each in its own way
        raise UserError(
            f"{source}: the weights cannot be loaded ({_first_line(error)})", "the folder may be damaged: fetch it again"
        ) from None
    module, report = loaded
    return module, weight_check.difference(report["missing_keys"], report["unexpected_keys"])


def _tokenizer(source: str, folder: Path, *, trust: bool) -> PreTrainedTokenizerBase | None:
    """The folder's tokenizer; None where there is none, which is fine for data that comes as token ids."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):  # without any, transformers makes up an empty one
        return None
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    except Exception as error:
        raise UserError(f"{source}: the tokenizer cannot be loaded ({_first_line(error)})", "fetch its files again") from None
    return tokenizer


def load_hub(
    source: str, revision: str | None, device: torch.device, dtype: torch.dtype, *, trust: bool, partial: bool = False, tensor: int = 1
) -> LoadedModel:
    """A hub model, from its cache where the hub is out of reach; `revision` becomes the commit that was loaded.

    Raises UserError where it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        online = _repository_files(source, revision)
    except ConnectionError:
        online = None
    if online is not None:
        weight_files.names_of(source, online, trust=trust)  # before gigabytes are fetched
    patterns = [*_WANTED, *(f"*{suffix}" for suffix in weight_files.PICKLES), "*.py"] if trust else list(_WANTED)
    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=patterns, local_files_only=online is None))
    except LocalEntryNotFoundError:
        raise UserError(
            f"model {source!r}: there is no such file or folder, and the hub cannot be reached",
            "a local folder, a .gguf file or builtin:tiny needs no network",
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"model {source!r} cannot be fetched ({_first_line(error)})", "try again, or give a local folder") from None
    return load_folder(source, folder, folder.name, device, dtype, trust=trust, partial=partial, tensor=tensor)


def _repository_files(source: str, revision: str | None) -> list[str]:
    """The files of a hub model. ConnectionError where the hub is out of reach.

    One request with a deadline: left to itself, transformers retries for half a minute before it gives up.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(source, revision=revision, timeout=_PROBE_SECONDS)
    except HFValidationError:
        raise UserError(
            f"model {source!r} is neither a file, nor a folder, nor a hub id", "see `interp-tui locate` for models on this machine"
        ) from None
    except GatedRepoError:
        raise UserError(f"model {source!r} is gated", "accept its terms on the hub and log in with `hf auth login`") from None
    except RevisionNotFoundError:
        raise UserError(f"model {source!r} has no revision {revision!r}", "give a branch, tag or commit of its repository") from None
    except RepositoryNotFoundError:
        raise UserError(f"the hub has no model {source!r}, or it is private", "check the name, or log in with `hf auth login`") from None
    except HfHubHTTPError as error:
        raise ConnectionError(str(error)) from None
    except Exception as error:  # no network, no name server, a proxy in between: each has its own type
        raise ConnectionError(str(error)) from None
    return sorted(sibling.rfilename for sibling in info.siblings or [])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
