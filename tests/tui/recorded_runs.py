"""Real runs, kept: what a small run of each kind left, for pictures of it that are the same on every machine.

    python -m tests.tui.recorded_runs RUN…    keeps finished runs, in place of those of their kinds

A recording is an archive of the run's folder without its arrays, checkpoints and figures, and without what its manifest and status say of
the machine that it ran on.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from interp_tui_engine.manifest import RECORDED
from interp_tui_engine.runfolder import RunFolder

PLACE = Path(__file__).with_name("recorded")
LARGEST = 400_000
"""Bytes of a file that is kept."""
NEVER = (".", "run.", "exit", "worker", "supervisor")
"""How files begin that are of the machine alone."""
OF_THE_MACHINE = ("host", "boot_id", "pid", "created", "worker_pid", "folder", "job", "gpus")
WHEN = 1_789_996_400.0
"""Seconds since 1970 at which recorded runs began: an hour before the moment at which tests of the app take place."""


def names() -> list[str]:
    """The kinds, and `sweep`, of which there is a recording."""
    return sorted(path.name.removesuffix(".tar.gz") for path in PLACE.glob("*.tar.gz"))


def unpacked(name: str, root: Path) -> RunFolder:
    """The recorded run of this kind, in a folder of its own under `root`."""
    path = root / f"20260921-131320-{name}-recorded"
    with tarfile.open(PLACE / f"{name}.tar.gz") as archive:
        archive.extractall(path, filter="data")
    return RunFolder(path)


def keep(path: Path) -> Path:
    """Record the run in the folder `path`, under its kind; a sweep under that name."""
    folder = RunFolder(path)
    name = "sweep" if "sweep" in tomllib.loads(folder.manifest_path.read_text()) else folder.status().kind
    archive_path = PLACE / f"{name}.tar.gz"
    with tarfile.open(archive_path, "w:gz", compresslevel=9) as archive:
        for file in sorted(path.iterdir()):
            if (
                file.is_file()
                and file.stat().st_size <= LARGEST
                and not file.name.startswith((".", "run.", "exit", "worker", "supervisor"))
            ):
                _add(archive, file.name, _scrubbed(file).replace(str(path).encode(), f"/runs/{name}".encode()))
    return archive_path


def _scrubbed(file: Path) -> bytes:
    """What is kept of a file."""
    if file.name == "manifest.toml":
        tables = {key: value for key, value in tomllib.loads(file.read_text()).items() if key not in RECORDED}
        return tomli_w.dumps(tables).encode()
    if file.name == "status.json":
        status = {key: value for key, value in json.loads(file.read_text()).items() if key not in OF_THE_MACHINE}
        return json.dumps(status | {"started": WHEN, "updated": WHEN + 60.0}).encode()
    if file.name == "events.jsonl":
        return _moved(file.read_text().splitlines()).encode()
    return file.read_bytes()


def _moved(lines: list[str]) -> str:
    """Events as they would be in a run that began at `WHEN`."""
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    first = events[0]["t"]
    return "".join(json.dumps(event | {"t": round(event["t"] - first + WHEN, 3)}) + "\n" for event in events)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    for argument in sys.argv[1:]:
        print(keep(Path(argument).resolve()))  # noqa: T201
