"""The decoder rows of the latents that records are of: what a feature writes, for its fingerprint. Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ... import atomic
from ...features import ids

Rows = Callable[[str], dict[str, Any]]
"""By a feature's id, its decoder row at unit length and which space that is a vector of; empty where there is none to read."""


def rows_of(records: Sequence[str]) -> Rows:
    """Looks latents up in the dictionary that a records run says it read. A dictionary that is gone gives nothing."""
    folder = next((dictionary for given in records if (dictionary := _dictionary(Path(given))) is not None), None)

    basis = _basis(folder) if folder is not None else ""

    def row(name: str) -> dict[str, Any]:
        parsed = ids.parse(name)
        if folder is None or parsed is None or parsed.kind != "sae" or parsed.number is None:
            return {}
        from safetensors import SafetensorError, safe_open

        with contextlib.suppress(OSError, SafetensorError, IndexError):
            with safe_open(folder / "sae_weights.safetensors", framework="numpy") as file:
                row_D = file.get_slice("W_dec")[parsed.number].astype("float64")
            size = float((row_D**2).sum()) ** 0.5
            return {"decoder_signature": [round(float(value), 6) for value in row_D / size], "decoder_basis": basis} if size > 0 else {}
        return {}

    return row


def _basis(folder: Path) -> str:
    """The model and place that the dictionary was trained at: rows of two dictionaries compare only within one."""
    about = atomic.read_json(folder / "cfg.json")
    about = about if isinstance(about, dict) else {}
    metadata = about["metadata"] if isinstance(about.get("metadata"), dict) else about
    return f"{metadata.get('model_name', '')} {metadata.get('hook_name', '')}".strip()


def _dictionary(run: Path) -> Path | None:
    """The folder of the dictionary that the run's result names."""
    result = atomic.read_json(run / "result.json") if run.is_dir() else None
    given = result.get("sae") if isinstance(result, dict) else None
    if not isinstance(given, str):
        return None
    places = (Path(given), Path(given) / "sae")
    return next((place for place in places if (place / "sae_weights.safetensors").is_file()), None)
