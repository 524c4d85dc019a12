"""Datasets of the `datasets` library: saved folders, hub ids, and objects a caller already has."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp_tui_engine.data.files import choose_column, text_of
from interp_tui_engine.errors import UserError
from interp_tui_engine.specs import DataSpec

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_PROBE_SECONDS = 5.0
_SHUFFLE_BUFFER = 10_000
_IDS = "input_ids"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` wrote this folder (`Dataset.save_to_disk`)."""
    return any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json", "state.json"))


def open_saved(folder: Path, split: str | None) -> Dataset:
    """A saved dataset, or one split of a saved dictionary of them: `train`, or the only one, when none is named.

    Raises UserError for a folder that holds none, and for a split it does not have.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # whatever pyarrow and datasets make of a damaged folder
        raise UserError(f"{folder}: not a dataset that can be read ({error})") from None
    if not isinstance(loaded, DatasetDict):
        if split is not None:
            raise UserError(f"{folder} has no splits, so split = {split!r} means nothing", "leave split out")
        return loaded
    name = split or ("train" if "train" in loaded or len(loaded) != 1 else next(iter(loaded)))
    if name not in loaded:
        near = get_close_matches(name, list(loaded), n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{folder} has no split {name!r}", f"{meant}its splits: {', '.join(loaded)}")
    return loaded[name]


def open_hub(spec: DataSpec) -> IterableDataset | Dataset:
    """A hub dataset, streamed, so that a few rows of a huge one cost little.

    Raises UserError where the hub cannot be reached, or has no such dataset, configuration or split.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from datasets.utils.logging import disable_progress_bar
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    disable_progress_bar()
    local = "a local .jsonl, .txt, .csv or .parquet file, or a folder of them, needs no network"
    try:
        # One request with a deadline: left to itself, load_dataset retries for half a minute before it gives up.
        HfApi().dataset_info(spec.source, timeout=_PROBE_SECONDS)
    except (RepositoryNotFoundError, DatasetNotFoundError):
        raise UserError(f"the hub has no dataset {spec.source!r}, or it is private", f"check the name; {local}") from None
    except HfHubHTTPError as error:
        raise UserError(f"dataset {spec.source!r}: {str(error).splitlines()[0]}", f"check the name; {local}") from None
    except Exception:  # no network, no name server, a proxy in between: each has its own type
        raise UserError(f"dataset {spec.source!r}: there is no such file or folder, and the hub cannot be reached", local) from None
    try:
        return load_dataset(spec.source, spec.config_name, split=spec.split or "train", streaming=True)
    except Exception as error:
        raise UserError(f"dataset {spec.source!r}: {error}", "check split and config_name") from None


def token_rows(dataset: Dataset | IterableDataset, limit: int | None = None) -> torch.Tensor | None:
    """The `input_ids` column of a dataset, or of its first `limit` rows, as `(rows, tokens)` int32; None where it has no such column.

    Raises UserError where rows differ in length: nothing is cut or padded unasked.
    """
    if _IDS not in (dataset.column_names or ()):
        return None
    rows = [_as_list(row[_IDS]) for row in islice(dataset, limit)]
    lengths = {len(row) for row in rows}
    if not rows:
        raise UserError("the dataset holds no rows")
    if len(lengths) != 1:
        raise UserError(
            f"the dataset's {_IDS} differ in length, from {min(lengths)} to {max(lengths)} tokens",
            "pack them into rows of one length, or give a text column instead",
        )
    return torch.tensor(rows, dtype=torch.int32)


def _as_list(ids: Any) -> list[int]:
    """Token ids as a dataset's format gives them. A tensor's numbers one by one would each be a call to the device."""
    return ids.tolist() if hasattr(ids, "tolist") else list(ids)


def texts(dataset: Dataset | IterableDataset, where: str, wanted: str | None, shuffle_seed: int | None) -> Iterator[str]:
    """The text of each row, shuffled first if a seed is given (within a buffer where the dataset is streamed)."""
    from datasets import IterableDataset

    if shuffle_seed is not None:
        buffer = {"buffer_size": _SHUFFLE_BUFFER} if isinstance(dataset, IterableDataset) else {}
        dataset = dataset.shuffle(seed=shuffle_seed, **buffer)
    column = None
    for number, row in enumerate(dataset, 1):
        column = column or choose_column(where, row, wanted)
        yield text_of(f"{where}, row {number}", row, column)
