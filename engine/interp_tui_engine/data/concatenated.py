"""A text dataset as a dataset of token rows of one length, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 1000
"""Documents that are tokenised together: those left over at the end of one such lot go on into the next."""


def tokenize_and_concatenate(
    dataset: Any,
    tokenizer: Any,
    streaming: bool = False,
    max_length: int = 1024,
    column_name: str = "text",
    add_bos_token: bool = True,
    num_proc: int = 1,
) -> Dataset:
    """Documents end to end, an EOS between two of them, cut into rows of `max_length` tokens; what is left at the end is dropped.

    With `add_bos_token` a row's first token is the tokenizer's BOS. Returns a Dataset of one column, `input_ids`, of torch tensors.

    devinterp's function of this name joins the texts of a lot of 1,000 documents, cuts that in 20 pieces without regard to words and
    tokenises each: its rows have other tokens at those cuts. `streaming` and `num_proc` are taken for its sake and change nothing.

    Raises UserError for a column that is not there, a tokenizer without BOS or EOS, and fewer tokens than one row.
    """
    from datasets import Dataset

    if column_name not in (dataset.column_names or ()):
        raise UserError(f"the dataset has no column {column_name!r}", f"its columns: {', '.join(dataset.column_names or ())}")
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer ({type(tokenizer).__name__}) has no EOS token", "it stands between two documents")
    if add_bos_token and tokenizer.bos_token_id is None:
        raise UserError(f"the tokenizer ({type(tokenizer).__name__}) has no BOS token", "use add_bos_token=False")
    text_length = max_length - add_bos_token
    if text_length < 1:
        raise UserError(f"max_length = {max_length} leaves no room for text", "use at least 2 with add_bos_token, 1 without")
    stream = torch.tensor(_stream(dataset, tokenizer, column_name), dtype=torch.int64)
    rows = len(stream) // text_length
    if rows == 0:
        raise UserError(f"the texts have {len(stream)} tokens, and one row needs {text_length}", "lower max_length, or give more text")
    ids = stream[: rows * text_length].view(rows, text_length)
    if add_bos_token:
        ids = F.pad(ids, (1, 0), value=tokenizer.bos_token_id)
    table = Dataset.from_dict({"input_ids": ids.tolist()})
    table.set_format(type="torch", columns=["input_ids"])
    return table


def _stream(dataset: Any, tokenizer: Any, column: str) -> list[int]:
    ids: list[int] = []
    for lot in dataset.iter(batch_size=AT_ONCE):
        texts = [text for text in lot[column] if text]
        for document in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else ():
            ids += [tokenizer.eos_token_id, *document] if ids else document
    return ids
