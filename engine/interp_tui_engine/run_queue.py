"""Runs that wait in order for a free device of this machine, without a daemon. Torch-free.

    queue.json             in the user's state folder: the folders of the runs that wait, in order, and whether the queue is paused
    devices/<name>.lease   held by the supervisor of the queued run that has the device
    devices/<name>.json    which run that is

A queued run is a folder like any other. Whoever comes by keeps the queue going: `interp-tui queue`, `list` and `attach`, the app, and the
supervisor of a queued run when it ends. So it survives logout and reboot. A GPU is free if no queued run holds its lease and no process of
anybody computes on it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from . import accelerators, atomic, gpu_use, lease, untrusted
from .errors import UserError
from .manifest_types import Manifest
from .runfolder import RunFolder
from .status import RESUMABLE
from .user_folders import queue_file

DEVICE = "INTERP_TUI_QUEUE_DEVICE"
"""Variable that tells a supervisor which device of the queue its run has."""
MASK = "INTERP_TUI_QUEUE_VISIBLE"
"""And which GPUs were visible before it was given one of them."""
PATIENCE = 30.0
"""Seconds to wait for another process that changes the queue."""

Launch = Callable[[RunFolder, Mapping[str, str]], None]


def place() -> Path:
    """The folder of the queue: $INTERP_TUI_STATE, else the platform's own place for state."""
    return queue_file().parent


def waiting() -> list[RunFolder]:
    """The runs that wait, in order."""
    return [RunFolder(Path(path)) for path in _read()[0]]


def running() -> dict[str, RunFolder]:
    """The runs that the queue has started and that go on, by their device."""
    entries = {}
    for record in sorted((place() / "devices").glob("*.json")):
        value = atomic.read_json(record)
        if isinstance(value, dict) and isinstance(value.get("run"), str) and lease.is_kept(record.with_suffix(".lease")):
            entries[str(value.get("device") or record.stem)] = RunFolder(Path(value["run"]))
    return entries


def is_paused() -> bool:
    """Whether the queue starts no more runs for now."""
    return _read()[1]


def need_one_device(request: Manifest) -> None:
    """Raise UserError for a run whose model is held by several GPUs: the queue gives a run one."""
    if request.together > 1 and accelerators.visible() and (request.model is None or request.model.device != "cpu"):
        what = f"the queue gives a run one GPU, and the model of this one is held by {request.together}"
        raise UserError(what, "start it without the queue, or on Slurm with compute.slurm.gpus_per_task")


def add(folders: Sequence[RunFolder]) -> None:
    """Put runs at the end of the queue."""
    with _changing() as (runs, paused):
        new = [str(folder.path.absolute()) for folder in folders]
        _write([*(run for run in runs if run not in new), *new], paused)
    for folder in folders:
        folder.queued_path.touch()


def move(name: str, position: int) -> None:
    """Put a waiting run at a position, 1 being next. Raises UserError if it does not wait."""
    with _changing() as (runs, paused):
        run = _named(runs, name)
        runs.remove(run)
        runs.insert(max(0, position - 1), run)
        _write(runs, paused)


def remove(name: str) -> RunFolder:
    """Take a waiting run out of the queue; its folder stays. Raises UserError if it does not wait."""
    with _changing() as (runs, paused):
        run = _named(runs, name)
        _write([other for other in runs if other != run], paused)
    RunFolder(Path(run)).queued_path.unlink(missing_ok=True)
    return RunFolder(Path(run))


def pause(on: bool) -> None:
    """Start no more runs, or go on; those that run are not touched."""
    with _changing() as (runs, _):
        _write(runs, on)


def advance(launch: Launch) -> list[RunFolder]:
    """Start as many waiting runs as there are free devices; returns them. `launch` starts one with further variables, or raises UserError.

    A run that was started otherwise, has ended or is gone leaves the queue; one that cannot be started leaves it too, its log saying why.
    """
    if not queue_file().exists():
        return []
    started = []
    with _changing() as (runs, paused):
        while runs and not paused and (device := next(iter(free_devices()), None)) is not None:
            folder = RunFolder(Path(runs.pop(0)))
            _write(runs, paused)
            if not folder.manifest_path.exists() or folder.status().state not in RESUMABLE:
                continue
            try:
                launch(folder, variables(device))
            except UserError as error:
                with contextlib.suppress(OSError), untrusted.open_to_append(folder.path / "supervisor.log") as log:
                    log.write(f"the queue could not start it: {error}\n".encode())
                continue
            started.append(folder)
    return started


def free_devices() -> list[str]:
    """The GPUs, as CUDA_VISIBLE_DEVICES names them, on which a run may be started now; 'cpu' without any, for one run at a time."""
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = range(len(accelerators.visible()))
    names = [mask.split(",")[index].strip() for index in seen] if mask else [str(index) for index in seen]
    busy = busy_gpus() if names else set()
    return [name for name in names or ["cpu"] if name not in busy and not lease.is_kept(_lease_of(name))]


def busy_gpus() -> set[str]:
    """The numbers and ids of GPUs on which some process computes, whoever's it is, as far as the driver says.

    It is asked through nvidia-ml-py where that is installed (the extra `gpu`), else through the command nvidia-smi.
    """
    if (used := gpu_use.in_use()) is not None:
        return used
    try:
        computing = set(_nvidia_smi("--query-compute-apps=gpu_uuid").split())
        rows = [row.partition(",") for row in _nvidia_smi("--query-gpu=index,uuid").splitlines()]
    except (OSError, subprocess.SubprocessError):
        return set()
    return computing | {index.strip() for index, _, uuid in rows if uuid.strip() in computing}


def _nvidia_smi(query: str) -> str:
    command = ["nvidia-smi", query, "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, timeout=accelerators.PATIENCE, check=True).stdout


def variables(device: str) -> dict[str, str]:
    """What a supervisor and its workers are told, so that they see this device only."""
    if device == "cpu":
        return {DEVICE: device}
    return {DEVICE: device, MASK: os.environ.get("CUDA_VISIBLE_DEVICES", ""), "CUDA_VISIBLE_DEVICES": device}


def leave_device() -> None:
    """Forget the device that this process had: it looks at all of them again."""
    os.environ.pop(DEVICE, None)
    mask = os.environ.pop(MASK, None)
    if mask is not None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        os.environ |= {"CUDA_VISIBLE_DEVICES": mask} if mask else {}
        accelerators.visible.cache_clear()


@contextlib.contextmanager
def device_held(folder: RunFolder) -> Iterator[bool]:
    """Hold the device that the queue gave to this process, which supervises the run in `folder`, while inside; whether there is one.

    Raises UserError if another run has it.
    """
    device = os.environ.get(DEVICE)
    if not device:
        yield False
        return
    (place() / "devices").mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with lease.held(_lease_of(device).with_suffix(".lock"), 0.0):
            atomic.write_json(_lease_of(device).with_suffix(".json"), {"device": device, "run": str(folder.path)}, durable=False)
            yield True
    except lease.HeldElsewhere:
        raise UserError(f"another run of the queue has {device}", "interp-tui queue list shows what waits") from None


def _lease_of(device: str) -> Path:
    return place() / "devices" / f"{device.replace(':', '-')}.lease"


def _named(runs: Sequence[str], name: str) -> str:
    matches = [run for run in runs if Path(run).name == name or run == name] or [run for run in runs if name and name in Path(run).name]
    if len(matches) != 1:
        what = f"{name!r} could be any of {', '.join(Path(run).name for run in matches[:5])}" if matches else f"{name!r} does not wait"
        raise UserError(f"{what} in the queue", "interp-tui queue list shows what waits")
    return matches[0]


def _read() -> tuple[list[str], bool]:
    record = atomic.read_json(place() / "queue.json")
    if not isinstance(record, dict) or not isinstance(record.get("runs"), list):
        return [], False
    return [run for run in record["runs"] if isinstance(run, str)], bool(record.get("paused"))


def _write(runs: Sequence[str], paused: bool) -> None:
    atomic.write_json(place() / "queue.json", {"v": 1, "paused": paused, "runs": list(runs)})


@contextlib.contextmanager
def _changing() -> Iterator[tuple[list[str], bool]]:
    """What waits, while nobody else changes it."""
    try:
        place().mkdir(mode=0o700, parents=True, exist_ok=True)
        with lease.held(place() / "queue.lock", PATIENCE):
            yield _read()
    except lease.HeldElsewhere as held:
        raise UserError(f"another process changes the queue{f' on {held.holder}' if held.holder else ''}", "try again") from None
