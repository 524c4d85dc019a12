"""Digests as finished runs have them in their manifests: each formula must stay, or replays of older runs disagree."""

from __future__ import annotations

import hashlib

import numpy as np

from interp_tui_engine import digests

VALUES = np.arange(6, dtype="<f4").reshape(2, 3)


def sha(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_arrays_are_told_apart_by_dtype_shape_and_values() -> None:
    assert digests.of_array(VALUES) == sha(b"<f4[2, 3]", VALUES.tobytes())
    others = [VALUES.reshape(3, 2), VALUES.astype("<i4"), VALUES + 1]
    assert len({digests.of_array(values) for values in (VALUES, *others)}) == 4


def test_order_in_memory_and_blocks_do_not_count() -> None:
    assert digests.of_array(np.asfortranarray(VALUES)) == digests.of_array(VALUES)
    assert digests.of_blocks("<f4", (2, 3), iter([VALUES[:1], VALUES[1:]])) == digests.of_array(VALUES)


def test_formulas_of_older_runs_stay() -> None:
    assert digests.of_step_array(VALUES) == sha(b"<f4(2, 3)", VALUES.tobytes())
    assert digests.of_bytes(VALUES) == sha(VALUES.tobytes())
    assert digests.of_texts(["ab", "c"]) == sha(b"abc")
    assert digests.of_json({"b": 1, "a": [0.5, None]}) == sha(b'{"a": [0.5, null], "b": 1}')
    assert digests.of_json({"b": 1, "a": 2}, sort_keys=False) == sha(b'{"b": 1, "a": 2}')
