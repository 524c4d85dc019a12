"""Environments of the peers and libraries that ours stands beside, made when they are first asked for, under .parity/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".parity"
TORCH = "torch==2.13.0"
"""An exact version takes the CPU build where the registry has one."""


def python_of(name: str, *packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment that has torch and these; each entry is what one call of pip is given."""
    folder = SCRATCH / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"making the environment {folder.relative_to(ROOT)} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for wanted in ((os.environ.get("TORCH") or TORCH,), *packages):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / ".ready").touch()
    return python
