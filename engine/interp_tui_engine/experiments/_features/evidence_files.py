"""What the feature kinds share: where evidence files are found in what a user names. Torch-free."""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError

FILES: dict[str, tuple[str, ...]] = {
    "records": ("records.jsonl.gz", "records.jsonl"),
    "interventions": ("interventions.jsonl", "interventions.jsonl.gz"),
    "report": ("report.json",),
    "features": ("features.jsonl", "features.jsonl.gz"),
}
"""By what is wanted: the file of a run folder that holds it."""


def file_of(given: str, what: str) -> Path:
    """The file itself, or the one that a run folder keeps for it. Raises UserError where the folder has none."""
    path = Path(given)
    if not path.is_dir():
        return path
    for name in FILES[what]:
        if (path / name).is_file():
            return path / name
    hint = "is that run done?" if (path / "manifest.toml").is_file() else "name a file, or a run folder"
    raise UserError(f"{path} holds no {' or '.join(FILES[what])}", hint)
