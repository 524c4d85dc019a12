"""Which GPUs a run may take when nobody has named any: found without torch, so that a supervisor can deal work out to them. Torch-free.

A GPU counts if the driver lists it, CUDA_VISIBLE_DEVICES does not hide it, and the torch that is installed was built for CUDA.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from .specs import ModelSpec

PATIENCE = 10.0
"""Seconds for nvidia-smi: drivers that were asleep take a few."""
TORCH_PATIENCE = 120.0
"""Seconds for torch to be imported and to look at the GPUs, from a cold disk or a file system that is far away."""
ASK = "from interp_tui_engine.models.device import available; print(*available())"


@cache
def visible() -> tuple[str, ...]:
    """The GPUs that torch will find here, as torch numbers them; looked for once in a process, which may take a second."""
    command = shutil.which("nvidia-smi")
    if command is None or not torch_is_built_for_cuda():
        return ()
    try:
        listing = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return names(listing, os.environ.get("CUDA_VISIBLE_DEVICES"))


@cache
def usable() -> tuple[str, ...]:
    """Those of `visible` that torch can compute on, by its own word: a process of its own imports it, which takes seconds.

    A driver lists GPUs that torch cannot use where it is too old for torch's CUDA, or where they are too old or too new for what torch was
    built for. Without a GPU nothing is asked.
    """
    if not visible():
        return ()
    try:
        answer = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=TORCH_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(name for name in visible() if name in answer.split())


def names(listing: str, mask: str | None) -> tuple[str, ...]:
    """cuda:0, cuda:1, … of what `nvidia-smi -L` lists and CUDA_VISIBLE_DEVICES leaves of it.

    The mask is a list of numbers or of (beginnings of) unique ids; it ends at the first that is none, and is void where one comes twice. Of
    GPUs that are cut into MIG instances a process sees a single instance.
    """
    devices = re.findall(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", listing, flags=re.MULTILINE)
    taken = chosen(devices, mask, re.findall(r"MIG-[^)\s]+", listing))
    if re.search(r"^\s+MIG ", listing, flags=re.MULTILINE):
        taken = taken[:1]
    return tuple(f"cuda:{index}" for index in range(len(taken)))


def chosen(devices: Sequence[tuple[str, str]], mask: str | None, instances: Sequence[str] = ()) -> list[str]:
    """The unique ids of the GPUs that a CUDA_VISIBLE_DEVICES leaves of these (number, id), in its order; and of these MIG instances."""
    taken: list[str] = []
    for wanted in [number for number, _ in devices] if mask is None else mask.split(","):
        entry = wanted.strip()
        matching = [uuid for number, uuid in devices if entry == number or (entry.startswith("GPU-") and uuid.startswith(entry))]
        if entry.startswith("MIG-") and any(entry in instance for instance in instances):
            matching = [entry]
        if len(matching) != 1:
            break
        if matching[0] in taken:
            return []
        taken += matching
    return taken


def torch_is_built_for_cuda() -> bool:
    """What the installed torch says of itself in a file, without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        version_file = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*=\s*['\"]", version_file, flags=re.MULTILINE) is not None


def for_model(model: ModelSpec | None, visible_gpus: Sequence[str]) -> list[str]:
    """The devices that devices = 'auto' means, one worker each: all GPUs found, unless the model is told where to be."""
    if model is None:
        return []
    return list(visible_gpus) if visible_gpus and model.device in ("auto", "cuda") else [model.device]
