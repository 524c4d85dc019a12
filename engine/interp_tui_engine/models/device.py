"""Where tensors live, chosen once at the top."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import psutil
import torch

from interp_tui_engine.errors import UserError


def available() -> list[str]:
    """The devices of this machine that torch can compute on, fastest first."""
    names = []
    if torch.cuda.is_available():
        built_for = torch.cuda.get_arch_list()
        count = torch.cuda.device_count()
        names = [f"cuda:{i}" for i in range(count) if has_code_for(torch.cuda.get_device_capability(i), built_for)]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def has_code_for(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a build of torch with code for these architectures runs on a GPU of this compute capability.

    Machine code, sm_86, runs on later GPUs of the same major version, with a suffix (sm_90a) on its own only; compute_90, which drivers
    compile, on all later ones (CUDA C++ Programming Guide, "Compute Capabilities"). What is named otherwise (ROCm's) is not judged.
    """
    codes = [match.groups() for name in built_for if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name))]
    if not codes:
        return True
    for kind, major, minor, suffix in codes:
        target = (int(major), int(minor))
        if capability == target or (not suffix and target <= capability and (kind == "compute" or target[0] == capability[0])):
            return True
    return False


def compute_deterministically(device: torch.device, wanted: bool) -> None:
    """Have torch give the same bits each time on this device, for the rest of the process; an operation that cannot raises RuntimeError.

    On the CPU it does so anyway. On CUDA the backward pass of attention, additions at indices and cuBLAS need to be told.
    """
    if device.type == "cpu":
        return
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # would write what is about to be written
    torch.backends.cudnn.benchmark = False


def compute_in(device: torch.device, precision: str) -> None:
    """Have products of float32 matrices computed as `precision` says, for the rest of the process: 'tf32' rounds their factors to 10 bits.

    UserError where the device has no such format; 'bf16' is the model's business, but a GPU must have it.
    """
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        what = f"precision = 'tf32' is a format of NVIDIA GPUs from Ampere on, and this run computes on {gpu_model(device) or device}"
        raise UserError(what, "leave compute.precision out, or choose another device")
    if device.type == "cuda":
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise UserError(f"precision = 'bf16', but {gpu_model(device)} has no bfloat16", "leave compute.precision out")
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def gpu_model(device: torch.device) -> str | None:
    """The model of a CUDA device, on which the last bits of numbers depend; None for other devices."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on the device: free ones, and those that torch holds without using them."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return int(psutil.virtual_memory().available)


def sent(values: Sequence[Any], device: torch.device) -> torch.Tensor:
    """Numbers as a tensor on a device, which nobody waits for: made there, `torch.tensor` would wait until the device has done all else."""
    return torch.tensor(values).to(device, non_blocking=True)


def launching_on(device: torch.device) -> AbstractContextManager[Any]:
    """Make it the device that kernels of ours are launched on: Triton takes the current one, not its arguments'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def tried(device: torch.device, module: str, right: Callable[[Any, torch.device], bool]) -> Any:
    """A module of kernels, where it can be imported, runs on this device and is `right` there; else None. Tried, not looked up."""
    if device.type != "cuda":
        return None
    try:
        kernel = importlib.import_module(module)
        return kernel if right(kernel, device) else None
    except Exception:  # no triton, no compiler for it, an architecture it does not know: operations do as well
        return None


def widest_float(device: torch.device) -> torch.dtype:
    """float64, for sums that must not round; float32 on MPS, which has no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is the fastest one there is. UserError, with those there are, where there is none."""
    devices = available()
    wanted = {"auto": devices[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in devices:
        raise UserError(f"there is no device {name!r} on this machine", f"available: auto, {', '.join(devices)}")
    return torch.device(wanted)
