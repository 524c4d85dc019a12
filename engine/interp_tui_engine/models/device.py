"""Where tensors live, chosen once at the top."""

from __future__ import annotations

import torch

from interp_tui_engine.errors import UserError


def available() -> list[str]:
    """The devices of this machine, fastest first."""
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is the fastest one there is. UserError, with those there are, where there is none."""
    devices = available()
    wanted = {"auto": devices[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in devices:
        raise UserError(f"there is no device {name!r} on this machine", f"available: auto, {', '.join(devices)}")
    return torch.device(wanted)
