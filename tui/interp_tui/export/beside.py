"""A run's result and page written into its own folder: what the key `e` does."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

from ..runs.session import flat, result_damage
from ..text.sanitise import cell
from .html import page


def export(folder: RunFolder) -> list[Path]:
    """Write the result as JSON, as a two-column CSV and as a page into the run's `export` folder; returns the files."""
    result = folder.result()
    if damage := result_damage(folder, result):
        raise UserError(f"{folder.path.name}: {damage}")
    if result is None:
        raise UserError(f"{folder.path.name} has no result yet", "it is written when the run is done")
    target = folder.path / "export"
    try:
        target.mkdir(exist_ok=True)
        paths = [target / "result.json", target / "result.csv", target / "report.html"]
        paths[0].write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with paths[1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("key", "value"), *((cell(key), cell(value)) for key, value in flat(result).items())])
        paths[2].write_text(page(folder), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror}") from None
    return paths
