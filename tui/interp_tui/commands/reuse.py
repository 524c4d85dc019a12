"""Which finished run is as good as a new one: same request, same code, same weights, same data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp_tui_engine import manifest, provenance, untrusted
from interp_tui_engine.errors import UserError
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import RunFolder, find_runs

from .locate import places


def recorded(folder: RunFolder) -> dict[str, Any]:
    """What the run wrote into [provenance] of its manifest; empty where there is nothing to read."""
    table = (untrusted.table_or_none(folder.manifest_path) or {}).get("provenance")
    return table if isinstance(table, dict) else {}


def find(request: Manifest, root: Path) -> RunFolder | None:
    """The newest finished run under the root that would give the same numbers, if there is one."""
    now, digest = provenance.of_start(request), request.digest()
    for folder in find_runs(root):
        was = recorded(folder)
        if not _made_alike(was, now) or folder.status().state != "done":
            continue
        if (was.get("request_sha256") == digest or _digest(folder) == digest) and not _changed_since(request, folder):
            return folder
    return None


def _made_alike(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether code and versions are the same. Python's own counts: the builtin data sets are made from its standard library."""
    return all(was.get(key) == now[key] for key in ("code_sha256", "python", "versions"))


def _digest(folder: RunFolder) -> str | None:
    try:
        return manifest.load(folder.manifest_path).digest()
    except UserError:
        return None


def _changed_since(request: Manifest, folder: RunFolder) -> bool:
    """Whether a file of the request, or of a builtin model, was written after the run began.

    Hashing gigabytes of weights again would cost more than it saves; a file that has not been touched has the hash the run recorded.
    """
    sources = [request.model.source] if request.model else []
    sources += [spec.source for spec in request.data.values()]
    paths = [Path(source) for source in sources if Path(source).is_absolute()]
    if request.model and request.model.source.startswith("builtin:"):
        paths.append(places()["builtin model"])
    began = folder.status().started
    return any(_newest(path) >= began for path in paths)


def _newest(path: Path) -> float:
    try:
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        return max(file.stat().st_mtime for file in files)
    except OSError:
        return float("inf")
