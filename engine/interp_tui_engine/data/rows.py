"""Rows of tokens: whatever the source, training and measuring see one `(rows, context + 1)` tensor with a fingerprint."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from interp_tui_engine.data import builtin, files, hub
from interp_tui_engine.errors import UserError, WrongType
from interp_tui_engine.specs import DataSpec

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase

_TOKENIZED_AT_ONCE = 64


@dataclass(frozen=True)
class TokenRows:
    """Sequences that a model is run on.

    `ids` is `(rows, context + 1)` int32: each row predicts its tokens 1 to `context`. `fingerprint` is a sha256 over shape and ids, the
    same on every machine that came to the same tokens; `source` is what the user wrote.
    """

    name: str
    ids: torch.Tensor
    fingerprint: str
    source: str
    bos: bool = False
    """Whether every row begins with the token that starts a text."""

    @property
    def context(self) -> int:
        """Predicted positions a row."""
        return int(self.ids.shape[1]) - 1

    def __len__(self) -> int:
        return int(self.ids.shape[0])


def load_rows(spec: DataSpec, tokenizer: PreTrainedTokenizerBase | None, *, name: str) -> TokenRows:
    """The rows a manifest's `[data.<name>]` asks for.

    Documents are tokenised without special tokens, joined with the tokenizer's EOS and cut into `context + 1` tokens; what is left at
    the end is dropped. With `prepend_bos` the first of a row's tokens is the tokenizer's BOS: models that have only seen text behind it
    (Gemma, Llama) predict little without. Reading stops once `rows` rows are there. A dataset with `input_ids` is taken as it is.

    Raises UserError where there is nothing to read, no text in it, or less of it than asked for.
    """
    where = f"data.{name} ({spec.source})"
    source = _open(spec)
    if isinstance(source, torch.Tensor):
        return _as_asked(source, spec, tokenizer, name, where)
    if tokenizer is None:
        raise UserError(f"{where} is text, and the model has no tokenizer", "give data with an 'input_ids' column, or a model with one")
    bos = _bos(tokenizer, spec, where)
    ids = _pack(source, tokenizer, spec, bos, where)
    return TokenRows(name, ids, fingerprint(ids), spec.source, bos is not None)


def rows_from_dataset(dataset: Dataset, *, name: str) -> TokenRows:
    """A Hugging Face dataset with an `input_ids` column of one length, as rows. Raises UserError without such a column."""
    ids = hub.token_rows(dataset)
    if ids is None:
        raise UserError(f"dataset {name!r} has no 'input_ids' column", f"its columns: {', '.join(dataset.column_names)}")
    return TokenRows(name, ids, fingerprint(ids), f"dataset:{name}")


def rows_of_items(items: Any, *, name: str) -> TokenRows:
    """Rows given one by one: a list or a torch Dataset, of ids or of mappings with `input_ids`, all of one length.

    Raises WrongType for what has no length and no items, such as a DataLoader or a generator, and for items that are no rows of ids.
    """
    if isinstance(items, (str, bytes)) or not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
        raise WrongType(
            f"{name!r} is a {type(items).__name__}, which has no rows that can be counted",
            "give a Hugging Face Dataset with input_ids, an integer tensor (rows, tokens), or a list or torch Dataset of such rows",
        )
    rows = [_row(items[place], place, name) for place in range(len(items))]
    if not rows:
        raise UserError(f"{name!r} holds no rows", "give at least one")
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise UserError(f"the rows of {name!r} differ in length, from {min(lengths)} to {max(lengths)} tokens", "pack them to one length")
    ids = torch.stack(rows)
    return TokenRows(name, ids, fingerprint(ids), f"rows:{name}")


def _row(item: Any, place: int, name: str) -> torch.Tensor:
    ids = item["input_ids"] if isinstance(item, Mapping) and "input_ids" in item else item
    ids = ids[0] if isinstance(ids, tuple) and len(ids) == 1 else ids  # as TensorDataset gives them
    try:
        row = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError):
        row = torch.empty(())
    if row.ndim != 1 or row.is_floating_point() or row.dtype == torch.bool:
        raise WrongType(
            f"item {place} of {name!r} is no row of token ids: {item!r:.60}", "a row is a list of integers, or {'input_ids': [...]}"
        )
    return row.to(torch.int32)


def fingerprint(ids: torch.Tensor) -> str:
    """sha256 over the shape and the values of `(rows, tokens)` ids."""
    digest = hashlib.sha256(f"{tuple(ids.shape)}".encode())
    digest.update(ids.to(torch.int32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _open(spec: DataSpec) -> Iterator[str] | torch.Tensor:
    """Documents, or token rows where the source holds those."""
    if spec.source.startswith("builtin:"):
        return _shuffled(_builtin(spec), spec.shuffle_seed)
    path = Path(spec.source).expanduser()
    if path.is_dir() and hub.is_saved_dataset(path):
        return _from_dataset(hub.open_saved(path, spec.split), spec)
    if path.exists():
        if spec.split is not None:
            raise UserError(f"{path} has no splits, so split = {spec.split!r} means nothing", "leave split out")
        return _shuffled(files.documents(path, spec.text_column), spec.shuffle_seed)
    if path.is_absolute() or spec.source.startswith((".", "~")) or path.suffix in files.READERS or spec.source.count("/") > 1:
        raise UserError(f"{spec.source}: no such file or folder", "relative paths start at the manifest's folder")
    return _from_dataset(hub.open_hub(spec), spec)


def _builtin(spec: DataSpec) -> Iterator[str]:
    kind = spec.source.removeprefix("builtin:")
    if spec.text_column is not None:
        raise UserError(f"{spec.source} has no columns, so text_column = {spec.text_column!r} means nothing", "leave text_column out")
    if kind not in builtin.BUILTIN:
        near = get_close_matches(kind, list(builtin.BUILTIN), n=1)
        meant = f"did you mean 'builtin:{near[0]}'? " if near else ""
        raise UserError(f"there is no data called {spec.source!r}", f"{meant}choose from builtin:{', builtin:'.join(builtin.BUILTIN)}")
    split = spec.split or "train"
    for name in builtin.SPLITS:
        if split == name:
            return builtin.BUILTIN[kind](name)
    raise UserError(f"{spec.source} has no split {split!r}", f"choose from {', '.join(builtin.SPLITS)}")


def _from_dataset(dataset: Dataset | IterableDataset, spec: DataSpec) -> Iterator[str] | torch.Tensor:
    ids = hub.token_rows(dataset, spec.rows) if spec.text_column is None else None
    return ids if ids is not None else hub.texts(dataset, spec.source, spec.text_column, spec.shuffle_seed)


def _shuffled(documents: Iterator[str], seed: int | None) -> Iterator[str]:
    if seed is None:
        return documents
    order = list(documents)
    random.Random(seed).shuffle(order)
    return iter(order)


def _bos(tokenizer: PreTrainedTokenizerBase, spec: DataSpec, where: str) -> int | None:
    """The token to begin rows with, if any; `auto` asks what the tokenizer puts before a text."""
    bos: int | None = tokenizer.bos_token_id
    if spec.prepend_bos == "auto":
        return bos if bos is not None and tokenizer("a")["input_ids"][0] == bos else None
    if spec.prepend_bos and bos is None:
        raise UserError(f"{where}: prepend_bos = true, but the model's tokenizer has no BOS token", "leave prepend_bos out")
    return bos if spec.prepend_bos else None


def _pack(documents: Iterable[str], tokenizer: PreTrainedTokenizerBase, spec: DataSpec, bos: int | None, where: str) -> torch.Tensor:
    length = spec.context + (bos is None)  # of text
    needed = None if spec.rows is None else spec.rows * length
    stream = array("i")
    added = 0
    texts = (document for document in documents if document)
    while batch := list(islice(texts, _TOKENIZED_AT_ONCE)):
        for ids in tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]:
            if added and tokenizer.eos_token_id is not None:
                stream.append(tokenizer.eos_token_id)
            stream.extend(ids)
            added += 1
        if needed is not None and len(stream) >= needed:
            break
    if not added:
        raise UserError(f"{where} is empty: it holds no text")
    if len(stream) < length:
        raise UserError(
            f"{where}: rows shorter than context: {added} documents give {len(stream)} tokens, one row needs {length}",
            f"lower context (now {spec.context}) or give more text",
        )
    rows = len(stream) // length
    if spec.rows is not None and rows < spec.rows:
        raise UserError(
            f"{where}: {spec.rows} rows asked for, but its {len(stream)} tokens make {rows} rows of {length}",
            f"set rows = {rows} or less, leave rows out, or lower context (now {spec.context})",
        )
    rows = spec.rows or rows
    ids = torch.frombuffer(stream[: rows * length], dtype=torch.int32).view(rows, length)
    return ids if bos is None else F.pad(ids, (1, 0), value=bos)


def _as_asked(ids: torch.Tensor, spec: DataSpec, tokenizer: PreTrainedTokenizerBase | None, name: str, where: str) -> TokenRows:
    rows, length = ids.shape
    if length != spec.context + 1:
        what = "rows shorter than context" if length < spec.context + 1 else "rows longer than context"
        raise UserError(
            f"{where}: {what}: they hold {length} tokens, context = {spec.context} needs {spec.context + 1}", f"set context = {length - 1}"
        )
    if spec.rows is not None and rows < spec.rows:
        raise UserError(f"{where}: {spec.rows} rows asked for, but there are {rows}", f"set rows = {rows} or less, or leave rows out")
    if tokenizer is not None and (int(ids.max()) >= len(tokenizer) or int(ids.min()) < 0):
        raise UserError(
            f"{where}: token ids run from {int(ids.min())} to {int(ids.max())}, but the model has {len(tokenizer)} tokens",
            "this data was tokenised for another model",
        )
    ids = ids[: spec.rows].contiguous()
    return TokenRows(name, ids, fingerprint(ids), spec.source)
