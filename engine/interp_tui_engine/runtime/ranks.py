"""The processes that hold one model together: a worker, and those that it starts beside it. Imports torch.

The worker is rank 0: it alone has the run's log, arrays and orders. Each other rank runs the same worker command with `--rank`, follows it
step by step, and ends with it. They find each other by a file in the shard's folder, and speak over this machine's loopback (gloo) or from
GPU to GPU (NCCL).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import init_device_mesh

from ..errors import RunFailed, UserError
from ..samplers.sharded.ranks import Ranks
from .context import Context

RANK, MEETING = "INTERP_TUI_RANK", "INTERP_TUI_MEETING"
"""Variables that tell a process which rank it is, and by which file it finds the others."""
PATIENCE = 60.0
"""Seconds that the others may take to end after the worker."""
STUCK = 30.0
"""Seconds after the end of one rank in which the worker should have noticed by itself."""


@contextlib.contextmanager
def together(context: Context) -> Iterator[Ranks | None]:
    """The ranks of this run while inside; None where one device holds the model.

    Raises UserError where there are not so many devices, RunFailed where one of the processes ended.
    """
    count = context.manifest.together
    if count < 2:
        yield None
        return
    rank = int(os.environ.get(RANK, "0"))
    device = _device(context, rank, count)
    meeting = Path(os.environ[MEETING]) if rank else context.shard_path / f"ranks.{uuid.uuid4().hex}"
    others = [] if rank else [_start(context, other, meeting) for other in range(1, count)]
    over = threading.Event()
    if others:
        threading.Thread(target=_end_if_stuck, args=(others, over), name="ranks", daemon=True).start()
    try:
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(backend, store=FileStore(str(meeting), count), rank=rank, world_size=count)
        yield Ranks(rank, count, init_device_mesh(device.type, (count,)))
    except RuntimeError as error:
        time.sleep(0.5)  # the end of a process is seen a moment after that of its connections
        if (ended := _ended(others)) is None:
            raise
        raise RunFailed(ended, "resume goes on from the last checkpoint that all of them have") from error
    finally:
        over.set()
        if dist.is_initialized():
            dist.destroy_process_group()
        _end(others)
        meeting.unlink(missing_ok=True)


def _device(context: Context, rank: int, count: int) -> torch.device:
    model = context.manifest.model
    named = model.device if model is not None else "auto"
    if named == "cpu" or (named == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not named.startswith(("auto", "cuda")):
        raise UserError(f"model.device = {named!r} does not hold a model with others", "use cpu or cuda, or one device")
    first = int(named.partition(":")[2] or 0)
    if first + count > torch.cuda.device_count():
        asked = "compute.gpus_per_worker" if context.manifest.compute.gpus_per_worker > 1 else "model.parallel.tensor"
        what = f"{asked} = {count}, but there are {torch.cuda.device_count()} GPUs, the first of them cuda:{first}"
        raise UserError(what, "lower it, or ask for more with compute.slurm.gpus_per_task")
    torch.cuda.set_device(first + rank)
    return torch.device("cuda", first + rank)


def _start(context: Context, rank: int, meeting: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "interp_tui_engine.worker", str(context.folder.path)]
    command += ["--shard", str(context.shard), "--rank", str(rank)]
    return subprocess.Popen(command, env=os.environ | {RANK: str(rank), MEETING: str(meeting)}, stdin=subprocess.DEVNULL)


def _ended(others: list[subprocess.Popen[bytes]]) -> str | None:
    """Which of the processes has ended, and how; None while all live."""
    for rank, process in enumerate(others, start=1):
        code = process.poll()
        if code:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}; engine.log says why"
            return f"rank {rank}, which held a part of the model, {how}"
    return None


def _end_if_stuck(others: list[subprocess.Popen[bytes]], over: threading.Event) -> None:
    """End the worker where it waits for a rank that is gone: on GPUs nobody else tells it. The supervisor reports it as crashed."""
    while not over.wait(1.0):
        if (ended := _ended(others)) is not None:
            if not over.wait(STUCK):
                sys.stderr.write(f"{ended}\n")
                os._exit(1)
            return


def _end(others: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    failed = sys.exc_info()[0] is not None
    for process in others:
        try:
            process.wait(0.5 if failed else max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_with_parent() -> None:
    """Have this process end when the one that started it does."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
