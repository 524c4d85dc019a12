"""How busy the NVIDIA GPUs of this machine are, as their driver says through nvidia-ml-py (the extra `gpu`). Torch-free.

Without that package, a driver or a GPU there is nothing to say, and nothing is said. A GPU that is cut into MIG instances does not tell how
busy it is.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

from .accelerators import chosen

EVERY = 2.0
"""Seconds between two looks: one takes the driver about a millisecond a GPU."""
FILE = "gpus.json"
"""Where the worker of a cluster's task notes them, in its shard's folder."""
NOTED = 5
"""Looks between two notes."""
KEPT = 30
"""Looks that a status holds: those of the last minute."""


@dataclass(frozen=True)
class GpuUse:
    """One GPU at one moment. device: as torch numbers it in this process. busy: percent of the last moments with a kernel on it, whoever's;
    None where the driver does not say. used, total: memory in bytes, everybody's."""

    device: str
    busy: int | None
    used: int
    total: int


@final
class GpuMeter:
    """Asks the driver; `library` is nvidia-ml-py, or what stands in for it in a test."""

    def __init__(self, library: Any = None) -> None:
        self._library = library if library is not None else _library()
        self._handles: dict[str, Any] = {}
        if self._library is not None:
            with contextlib.suppress(self._library.NVMLError):
                self._library.nvmlInit()
                self._handles = self._visible()

    def __bool__(self) -> bool:
        return bool(self._handles)

    def _visible(self) -> dict[str, Any]:
        """The handle of each GPU that CUDA_VISIBLE_DEVICES leaves, by torch's name of it."""
        nvml = self._library
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        by_uuid = {_text(nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}
        devices = [(str(index), uuid) for index, uuid in enumerate(by_uuid)]
        taken = chosen(devices, os.environ.get("CUDA_VISIBLE_DEVICES"))
        return {f"cuda:{index}": by_uuid[uuid] for index, uuid in enumerate(taken)}

    def read(self) -> list[GpuUse]:
        """Every visible GPU as it is now; one that has fallen off the bus is left out."""
        uses = []
        for device, handle in self._handles.items():
            with contextlib.suppress(self._library.NVMLError):
                memory = self._library.nvmlDeviceGetMemoryInfo(handle)
                uses.append(GpuUse(device, self._busy(handle), int(memory.used), int(memory.total)))
        return uses

    def _busy(self, handle: Any) -> int | None:
        try:
            return int(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)
        except self._library.NVMLError:
            return None


def in_use(library: Any = None) -> set[str] | None:
    """The numbers and ids of the GPUs on which some process computes, whoever's it is; None where the driver cannot be asked.

    library: nvidia-ml-py, or what stands in for it.
    """
    nvml = _library() if library is None else library
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return None
    used: set[str] = set()
    for index, handle in enumerate(handles):
        with contextlib.suppress(nvml.NVMLError):  # one that does not tell, such as a GPU cut into instances, keeps nobody away
            if nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                used |= {str(index), _text(nvml.nvmlDeviceGetUUID(handle))}
    return used


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


@final
class GpuHistory:
    """What the meter has shown of late, and the most memory that each GPU has had in use."""

    def __init__(self, meter: GpuMeter) -> None:
        self._meter = meter
        self._busy: dict[str, deque[int]] = {}
        self._last: dict[str, GpuUse] = {}
        self._peak: dict[str, int] = {}

    def look(self) -> None:
        """Take one more look."""
        for use in self._meter.read():
            self._last[use.device] = use
            self._peak[use.device] = max(use.used, self._peak.get(use.device, 0))
            if use.busy is not None:
                self._busy.setdefault(use.device, deque(maxlen=KEPT)).append(use.busy)

    def all_rows(self) -> list[dict[str, Any]]:
        """What a status says of every GPU that was seen."""
        return list(self.rows(", ".join(self._last)))

    def peaks(self) -> dict[str, int]:
        """The most memory in use on each GPU, in bytes."""
        return dict(self._peak)

    def rows(self, devices: str) -> tuple[dict[str, Any], ...]:
        """What a status says of the GPUs that are named in `devices`, such as 'cuda:0, cuda:1'; plain 'cuda' is the first."""
        named = {part.strip() for part in devices.split(",")}
        named |= {"cuda:0"} if "cuda" in named else set()
        uses = [self._last[device] for device in sorted(named & self._last.keys())]
        return tuple(
            {"device": use.device, "busy": list(self._busy.get(use.device, ())), "used": use.used, "total": use.total}
            | {"peak": self._peak[use.device]}
            for use in uses
        )


@contextlib.contextmanager
def watched(meter: GpuMeter | None = None, note: Callable[[GpuHistory], None] = lambda history: None) -> Iterator[GpuHistory]:
    """Look at the GPUs every few seconds, on a thread, while inside; where there are none, do nothing. note: told after some looks."""
    meter = GpuMeter() if meter is None else meter
    history, over = GpuHistory(meter), threading.Event()

    def keep_looking() -> None:
        looks = 0
        while not over.wait(EVERY):
            history.look()
            looks += 1
            if looks % NOTED == 1:
                note(history)

    if meter:
        history.look()
        threading.Thread(target=keep_looking, name="GPU use", daemon=True).start()
    try:
        yield history
    finally:
        over.set()
