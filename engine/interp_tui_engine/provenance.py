"""What a run was made with: versions, code, platform and times, as far as they are known without torch."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .manifest import Manifest

PACKAGES = ("interp-tui", "torch", "transformers", "datasets", "numpy", "zarr", "xarray", "arviz-stats")


def of_start(request: Manifest) -> dict[str, Any]:
    """Provenance known before the worker starts; the worker adds the hashes of weights, tokenizer and data, and its device."""
    return {
        "request_sha256": request.digest(),
        **made_with(),
        "git_commit": git_commit(),
        "platform": platform.platform(),
    }


def made_with() -> dict[str, Any]:
    """What the same request must be made with to give the same numbers: code, versions, and Python, whose library the builtin data are."""
    return {"code_sha256": code_digest(), "python": platform.python_version(), "versions": {name: _version(name) for name in PACKAGES}}


def times(started: float) -> dict[str, Any]:
    """When the run first started and when it ended, in UTC."""
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def code_digest() -> str:
    """sha256 over the engine's own source files, so that a changed estimator never passes for the old one."""
    root = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def git_commit() -> str:
    """The commit of the source tree this package is run from, '+' if it is modified; empty for an installed package."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
