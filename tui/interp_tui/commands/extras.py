"""Which optional packages are here, and whether they can be imported: a package that pip lists may still not load beside the others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

MODULES = {
    "gguf": "gguf",
    "transformer-lens": "transformer_lens.model_bridge",
    "nnsight": "nnsight.modeling.transformers",
    "sae-lens": "sae_lens",
    "hub": "huggingface_hub",
    "slurm": "submitit",
    "gpu": "pynvml",
    "images": "resvg_py, textual_image",
}
"""The module of each extra of pyproject.toml that this program imports, or several with commas."""

PACKAGES = {"hub": "huggingface-hub", "slurm": "submitit", "gpu": "nvidia-ml-py", "images": "textual-image"}
"""The package that brings it, where it is not called like the extra."""

PATIENCE = 120.0
"""Seconds that an import may take: sae-lens alone takes ten on a busy machine."""


def installed() -> list[str]:
    """The extras whose package is here, whether it loads or not."""
    return [extra for extra in MODULES if _present(PACKAGES.get(extra, extra))]


def faults(names: Iterable[str]) -> dict[str, str]:
    """Why each of these extras cannot be imported; those that can are left out.

    Each is imported in a process of its own, all side by side: the caller stays free of torch, and one that crashes takes nothing along.
    """

    def start(module: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-c", f"import {module}"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )

    imports = {name: start(MODULES[name]) for name in names}
    answers = {name: _fault(process) for name, process in imports.items()}
    return {name: fault for name, fault in answers.items() if fault}


def _fault(process: subprocess.Popen[str]) -> str:
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"its import did not end in {PATIENCE:.0f} s"
    lines = errors.strip().splitlines()
    return "" if process.returncode == 0 else lines[-1][:200] if lines else f"its import ended with exit code {process.returncode}"


def _present(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
