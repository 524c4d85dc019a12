"""Hostile models: each is refused with a sentence (the error that exits 2) or loads whole, and none runs code."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .check import Check
from .hostile_models import Case, cases, sound_folder, went_off

PARTS = 4


def parts(quick: bool) -> Sequence[str]:
    """Every case belongs to one."""
    return ["0"] if quick else [str(index) for index in range(PARTS)]


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """The cases of `hostile_models` that belong to the part; a tenth of all when quick."""
    del seed
    with tempfile.TemporaryDirectory() as place:
        base = sound_folder(Path(place) / "base")
        for index, case in enumerate(cases()[::10] if quick else cases()[int(name) :: PARTS]):
            folder = Path(place) / str(index)
            folder.mkdir()
            yield _tried(case, base, folder / "model")


def _tried(case: Case, base: Path, to: Path) -> Check:
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.models.load import load_model

    started = time.monotonic()
    try:
        loaded = load_model(case.make(base, to), device="cpu")
        passed, note = case.refusal is None and not loaded.difference, "loaded"
    except UserError as error:
        passed, note = case.refusal is not None and bool(re.search(case.refusal, str(error), re.DOTALL)), error.what
    except Exception as error:
        passed, note = False, f"raw {type(error).__name__}: {error}"
    if went_off(to).exists():
        passed, note = False, "its code was run"
    return Check(case.name, passed, f"{note[:160]} ({time.monotonic() - started:.1f} s)")
