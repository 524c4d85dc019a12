"""Models that `transformers` saved: a folder on disk, or an id on the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.loaded import LoadedModel, files_hash, finish

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROBE_SECONDS = 5.0
# What loading may read: never a second copy of the weights in another framework's format.
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def load_folder(source: str, folder: Path, revision: str | None, device: torch.device, dtype: torch.dtype, *, trust: bool) -> LoadedModel:
    """The model, and the tokenizer if there is one, that `save_pretrained` left in a folder.

    Raises UserError for a folder without configuration or weights, with pickled weights only (unless trusted), with code of its own (unless
    trusted), or with a model that does not predict the next token.
    """
    config = read_config(source, folder)
    check_causal(source, config, trust=trust)
    weights = _weights(source, sorted(p.name for p in folder.iterdir() if p.is_file()), trust=trust)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe = weights[0].endswith(".safetensors")
    try:
        module = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust, use_safetensors=safe, local_files_only=True
        )
    except Exception as error:  # a damaged file fails in safetensors, torch, json or transformers, each in its own way
        raise UserError(
            f"{source}: the weights cannot be loaded ({_first_line(error)})", "the folder may be damaged: fetch it again"
        ) from None
    tokenizer = None  # fine where data comes as token ids
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):  # without any, transformers makes up an empty one
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        except Exception as error:
            raise UserError(f"{source}: the tokenizer cannot be loaded ({_first_line(error)})", "fetch its files again") from None
    return finish(
        module,
        tokenizer,
        source=source,
        revision=revision,
        device=device,
        dtype=dtype,
        weights_hash=files_hash([folder / name for name in weights]),
    )


def load_hub(source: str, revision: str | None, device: torch.device, dtype: torch.dtype, *, trust: bool) -> LoadedModel:
    """A hub model, from its cache where the hub is out of reach; `revision` becomes the commit that was loaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        online = _repository_files(source, revision)
    except ConnectionError:
        online = None
    if online is not None:
        _weights(source, online, trust=trust)  # before gigabytes are fetched
    patterns = [*_WANTED, *(f"*{suffix}" for suffix in _PICKLES), "*.py"] if trust else list(_WANTED)
    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=patterns, local_files_only=online is None))
    except LocalEntryNotFoundError:
        raise UserError(
            f"model {source!r}: there is no such file or folder, and the hub cannot be reached",
            "a local folder, a .gguf file or builtin:tiny needs no network",
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"model {source!r} cannot be fetched ({_first_line(error)})", "try again, or give a local folder") from None
    return load_folder(source, folder, folder.name, device, dtype, trust=trust)


def check_causal(source: str, config: dict[str, Any], *, trust: bool) -> None:
    """Raise UserError unless a configuration is that of a model which predicts the next token."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    if "auto_map" in config:
        if not trust and config.get("model_type") not in CAUSAL:
            raise UserError(f"{source} runs code of its own to load", "read that code, then give --trust")
        return
    model_type = config.get("model_type", "?")
    architectures = config.get("architectures") or [CAUSAL.get(model_type, f"a {model_type} model")]
    if not set(architectures) & set(CAUSAL.values()):
        raise UserError(
            f"{source} is no causal language model, but {', '.join(architectures)}", "choose one whose architecture ends in ForCausalLM"
        )


def read_config(source: str, folder: Path) -> dict[str, Any]:
    """The folder's config.json. UserError where there is none, or none that is a table."""
    path = folder / "config.json"
    if not path.is_file():
        ggufs = sorted(p.name for p in folder.glob("*.gguf"))
        raise UserError(
            f"{source} holds no config.json",
            f"name the file itself: {ggufs[0]}" if ggufs else "expected a folder written by save_pretrained",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a model's configuration")
    return config


def _weights(source: str, names: list[str], *, trust: bool) -> list[str]:
    """The files that hold the weights; safetensors before pickles, and pickles only when trusted."""
    if safe := [name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_")]:
        return safe
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if not pickles:
        raise UserError(f"{source} holds no weights", "expected .safetensors files beside config.json")
    if not trust:
        raise UserError(
            f"{source} has its weights only as pickles ({', '.join(pickles)}), which can run any code when loaded",
            "convert them to safetensors, or give --trust if you trust where they come from",
        )
    return pickles


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
