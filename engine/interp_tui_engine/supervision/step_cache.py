"""Which finished step of an earlier pipeline is as good as running it again: equal request, inputs, code and versions. Torch-free.

A step's key is a sha256 over its manifest with each reference `${step}` replaced by that step's own key, the engine's code, the versions
of Python and the packages, and the size and time of every file it names. It stands in `reused.json` of a step that was taken over, and in
`keys.json` of every pipeline's `steps/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from .. import atomic, pipeline, provenance
from ..runfolder import RunFolder, remove_empty

REUSE = "reuse.json"
"""In a pipeline's folder: {"roots": folders of runs to look in}. Where it is missing only other points of the same sweep are looked at."""
POINTS = "points"
"""The folder that a sweep's runs stand in."""
KEYS = "keys.json"
TAKEN = "reused.json"
LEFT_BEHIND = ("checkpoint", "control", "run.lock", "worker.lock", "supervisor.log")
BUILTIN = Path(__file__).resolve().parents[1] / "models" / "tiny"


def allow(folder: RunFolder, roots: Sequence[Path]) -> None:
    """Let a pipeline that is still to start take steps over from earlier ones under the roots."""
    atomic.write_json(folder.path / REUSE, {"roots": [str(root) for root in dict.fromkeys(roots)]})


@final
class StepCache:
    """The keys of one pipeline's steps, and the earlier runs that have them."""

    def __init__(self, folder: Path, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self._folder = folder
        self._tables = tables
        stored = atomic.read_json(folder / REUSE)
        roots = stored.get("roots") if isinstance(stored, dict) else None
        self._roots = [Path(root) for root in roots or () if isinstance(root, str)]
        if folder.parent.name == POINTS:  # what the axes of a sweep leave as it is, is done once
            self._roots.append(folder.parent)
        self._keys: dict[str, str] = {}

    def key(self, name: str) -> str:
        """The key of one step."""
        if name not in self._keys:
            table = {key: value for key, value in self._tables[name].items() if key != "name"}
            table = pipeline.filled(table, lambda step, key: f"<{self.key(step)}{'' if key is None else f'.{key}'}>")
            made = provenance.made_with()
            files = {text: _stamp(Path(text)) for _, text in pipeline.texts_of(table) if _is_place(text)}
            if any(text.startswith("builtin:") for _, text in pipeline.texts_of(table)):
                files["builtin"] = _stamp(BUILTIN)
            whole = json.dumps([table, made, files], sort_keys=True)
            self._keys[name] = hashlib.sha256(whole.encode()).hexdigest()
        return self._keys[name]

    def take(self, name: str, target: RunFolder) -> str:
        """Take over an equal finished step, if there is one, as hard links; returns the place it came from, or ''."""
        source = self._find(name)
        if source is None:
            return ""
        beside = atomic.beside_of(target.path)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside, copy_function=_linked, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        place = source.relative_to(source.parent.parent.parent).as_posix()
        atomic.write_json(beside / TAKEN, {"from": place})
        for missing in ("control", "shards"):
            (beside / missing).mkdir(mode=0o700, exist_ok=True)
        remove_empty(target.path)
        beside.replace(target.path)
        return place

    def taken_from(self, folder: RunFolder) -> str:
        """Where an earlier attempt of this pipeline took the step over from; '' if it ran it itself."""
        stored = atomic.read_json(folder.path / TAKEN)
        return str(stored.get("from") or "") if isinstance(stored, dict) else ""

    def note(self) -> None:
        """Write down this pipeline's keys, for later ones to find."""
        place = self._folder / "steps" / KEYS
        if not place.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            atomic.write_json(place, {name: self.key(name) for name in self._tables})

    def _find(self, name: str) -> Path | None:
        if not self._roots:
            return None
        wanted = self.key(name)
        for place in sorted((place for root in self._roots for place in root.glob(f"*/steps/{KEYS}")), reverse=True):
            if place.parent.parent == self._folder:
                continue
            keys = atomic.read_json(place)
            for other, key in keys.items() if isinstance(keys, dict) else ():
                candidate = RunFolder(place.parent / str(other))
                if (
                    key == wanted
                    and pipeline.NAME.fullmatch(str(other))
                    and candidate.manifest_path.is_file()
                    and candidate.status().state == "done"
                ):
                    return candidate.path
        return None


def _linked(source: str, target: str) -> None:
    """A hard link where the file system can, else a copy: files of a finished run are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _is_place(text: str) -> bool:
    return Path(text).is_absolute() and len(text) < 4096 and "\0" not in text and os.path.lexists(text)


def _stamp(path: Path) -> list[list[Any]]:
    """Name, size and time of the file, or of every file in the folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stamps = []
    for file in files:
        about = file.stat()
        if not file.is_dir() and "__pycache__" not in file.parts:
            stamps.append([str(file.relative_to(path)), about.st_size, about.st_mtime_ns])
    return stamps
