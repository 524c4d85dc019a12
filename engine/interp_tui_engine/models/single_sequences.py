"""Spares the device a question that transformers asks at each forward pass, and waits for: whether rows hold several packed sequences.

It compares neighbouring position ids, brings the answer to the host, and only then launches the model: on a GPU that costs a small model's
pass more than its arithmetic. Rows here always hold one sequence, whose position ids count up.
"""

from __future__ import annotations


def expect_single_sequences() -> None:
    """Have transformers take rows without an attention mask as one sequence each, for the rest of the process."""
    from transformers import masking_utils

    if hasattr(masking_utils, "find_packed_sequence_indices"):  # by another name in another release, it is asked as before
        masking_utils.find_packed_sequence_indices = _one_sequence


def _one_sequence(position_ids: object) -> None:
    """What `find_packed_sequence_indices` answers for rows of one sequence."""
