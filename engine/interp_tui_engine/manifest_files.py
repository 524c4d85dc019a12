"""Files and folders that a manifest names: placed from its own folder, and there or not. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import Problem
from .manifest_types import Manifest
from .specs import FILE, Table
from .validation_errors import nearest

LOCAL_SUFFIXES = (".gguf", ".jsonl", ".txt", ".csv", ".parquet", ".safetensors", ".json", ".toml")
LONGEST_NAME = 1000
"""Characters of a path, a hub id or a name in a manifest."""
LONGEST_PART = 255
"""Bytes of one part of a path that file systems allow."""


def missing_files(manifest: Manifest) -> list[Problem]:
    """Sources and files that are not there, no name at all, or neither file nor folder."""
    sources = [("model.source", manifest.model.source)] if manifest.model else []
    sources += [(f"data.{name}.source", spec.source) for name, spec in manifest.data.items()]
    for name in _file_fields(manifest.params):
        value = getattr(manifest.params, name)
        sources += (
            [(f"params.{name}.{i}", item) for i, item in enumerate(value)] if isinstance(value, list) else [(f"params.{name}", value)]
        )
    problems = []
    for key, source in sources:
        path = Path(source)
        if len(source) > LONGEST_NAME or "\0" in source or any(len(part.encode(errors="replace")) > LONGEST_PART for part in path.parts):
            problems.append(Problem(key, f"{source[:60]!r}… is no name and no path: {len(source):,} characters", value=source[:200]))
        elif path.is_absolute() and not _exists(path):
            guess = nearest(path.name, _names_in(path.parent))
            problems.append(Problem(key, f"no such file or folder: {source}", value=source, suggestion=guess))
        elif path.is_absolute() and not (path.is_file() or path.is_dir()):
            problems.append(Problem(key, f"{source} is neither a file nor a folder, but a pipe or a device", value=source))
    return problems


def located(source: str, base: Path) -> str:
    """An absolute path where `source` means a file or folder beside the manifest; unchanged for builtin: and hub names."""
    if source.startswith(("builtin:", "${")):  # a step's artifact has no place before the step has run
        return source
    looks_local = source.startswith((".", "/", "~")) or source.endswith(LOCAL_SUFFIXES)
    try:
        path = base / Path(source).expanduser()
        return str(path.resolve()) if looks_local or _exists(path) else source
    except (OSError, ValueError, RuntimeError):  # a null byte, a link to itself, the home of an unknown user
        return str(base.absolute() / source)


def with_located_files(params: Table, base: Path) -> Table:
    """Params whose files are absolute paths; artifacts of steps and builtin: names stay as they are."""

    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(item) for item in value]
        if not isinstance(value, str) or value.startswith(("${", "builtin:")):
            return value
        try:
            return str((base / Path(value).expanduser()).resolve())
        except (OSError, ValueError, RuntimeError):
            return str(base.absolute() / value)

    return params.model_copy(update={name: placed(getattr(params, name)) for name in _file_fields(params)})


def _file_fields(params: Table) -> list[str]:
    """The fields of Params that name files and are set."""
    marked = [name for name, about in type(params).model_fields.items() if about.json_schema_extra == FILE]
    return [name for name in marked if getattr(params, name)]


def _names_in(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (OSError, ValueError):
        return []


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system, a folder that may not be looked into
        return False
