"""The only process that imports torch: runs one shard of a run.

    python -P -m interp_tui_engine.worker RUN_FOLDER --shard K

Writes to shards/<k>/ only its events, log, checkpoints and exit.json, and to the run folder its arrays and result. It looks for commands
between steps. If its supervisor is gone it checkpoints and ends, so that a killed run never leaves a process behind that nobody watches.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from . import (
    accelerators,
    atomic,
    catalog,
    gpu_use,
    lease,
    manifest,
    notices,
    payload,
    resource_use,
    shards,
    storage_faults,
    uncertainty,
    uncertainty_report,
)
from .atomic import DISK_FULL, disk_is_full
from .errors import RunFailed, UserError, out_of_memory
from .events import Event, Metrics, RunFinished, RunStarted, Warned
from .markdown import visible
from .runfolder import EventLog, RunFolder
from .runtime.context import Context, Interrupted
from .runtime.orders import STOPPED, Orders
from .status import task_here
from .supervision.executors.spare_process import wait_for_task

T = TypeVar("T")

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS gives the same bits each time with workspaces of a fixed size only; read when CUDA is first used."""
INTERRUPTED = 130
"""Exit code of a worker that was stopped and can be resumed."""
LOCK_PATIENCE = 180.0
"""Seconds to wait for the last worker of this shard: one whose supervisor was killed needs a moment to write its checkpoint, and of one
whose node was lost the lease must run out."""

OUT_OF_MEMORY_ADVICE = (
    "lower batch_size or compute.memory_budget, shorten prompts or context, use fewer threads, a smaller model or dtype, or another device"
)
MISFITS = 5
"""Fields of one payload that are named when they do not fit their type."""


def work(folder: RunFolder, shard: int) -> int:
    """Run the shard to its end and leave exit.json saying how it ended. Returns the process's exit code."""
    path = folder.shard(shard)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    orders = Orders(path / "control")
    started = time.time()
    with lease.held(path / "worker.lock", LOCK_PATIENCE):
        if orders.unwatched:  # its supervisor was killed while it waited: others may have gone on, and ended, since
            return INTERRUPTED
        if task_here():
            (path / "exit.json").unlink(missing_ok=True)  # of an earlier attempt, where a scheduler has started this one again
        try:
            log = EventLog(path / "events.jsonl")
        except UserError as error:
            atomic.write_json(path / "exit.json", _how_it_failed(error, folder) | {"seconds": 0.0, **_place()})
            return 1
        resumed = log.seq > 0
        orders.watch(path / "exit.json", started)
        with _gpus_noted(path) as gpus:
            try:
                ending = _run(folder, shard, orders, log, resumed)
            except Exception as error:
                if not isinstance(error, (UserError, RunFailed, Interrupted)) and not orders.interrupting:
                    traceback.print_exc()
                ending = dict(STOPPED) if orders.interrupting else _how_it_failed(error, folder)
        orders.done()
        ending |= {"gpu_memory_peak": gpus.peaks()} if gpus is not None and gpus.peaks() else {}
        ending |= {"seconds": time.time() - started, **_place()}
        if (memory := resource_use.peak_of_this_process(_other_ranks(folder))) is not None:
            ending["memory_bytes"] = memory
        try:
            log.append(RunFinished(ending["state"], ending["seconds"], ending.get("headline", {}), ending.get("reason", "")))
            ending["seq"] = log.seq
            log.close()
            atomic.write_json(path / "exit.json", ending)
        except OSError as error:
            if not storage_faults.explained(error, folder.path):
                raise
            return DISK_FULL if disk_is_full(error) else 1
    return {"done": 0, "interrupted": INTERRUPTED}.get(ending["state"], 1)


def follow(folder: RunFolder, shard: int, rank: int) -> int:
    """Hold a part of the model of the worker that started this process, and take every step with it; it alone is given orders."""
    from .runtime.ranks import end_with_parent

    end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    request = _request(folder, shard, None)
    kind = catalog.get(request.kind)
    context = Context(request, folder, shard, lambda: "go", False, None, ())
    if request.model is not None and request.model.devices > 1:
        from .runtime import split_model

        return split_model.follow(kind, context, rank)
    assert kind.follow is not None, "the manifest was checked"
    kind.follow(context)
    return 0


def _request(folder: RunFolder, shard: int, share: shards.Shard | None) -> manifest.Manifest:
    """The run's manifest as this process computes it: on its device, with the cores of its task."""
    request = manifest.load(folder.manifest_path)
    if request.model and (device := _device(request, shard, share)):
        request = request.model_copy(update={"model": request.model.model_copy(update={"device": device})})
    if (cores := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal() and request.compute.threads is None:
        request = request.model_copy(update={"compute": request.compute.model_copy(update={"threads": int(cores)})})
    return request


def _run(folder: RunFolder, shard: int, orders: Orders, log: EventLog, resumed: bool) -> dict[str, Any]:
    share = shards.read(folder, shard)
    request = _request(folder, shard, share)
    kind = catalog.get(request.kind)
    log.append(RunStarted(request.kind, request.name, resumed=resumed))
    joined = tuple(shards.gather(folder, shard)) if share and share.merges else ()
    context = Context(request, folder, shard, orders.poll, resumed, share, joined)
    if share and not share.merges:
        assert kind.sharding is not None, "only such runs are dealt out"
        return {"state": "done", "told": dict(_logged(kind.sharding.work(context), log))}
    began = time.monotonic()
    result: catalog.Result = _logged(_running(kind, context), log)
    log.append(Metrics("headline", 0, result.headline))
    taken = time.monotonic() - began  # of this start; a kind that knows better, such as one dealt out to several workers, says so
    values = {"kind": request.kind, "name": request.name, "schema_version": 1, "seconds": taken, **result.values}
    if result.uncertainty:
        values["uncertainty"] = {name: bar.as_json() for name, bar in result.uncertainty.items()}
    headline = _headline(result)
    for misfit in _misfits(kind, values, headline):
        log.append(Warned(misfit))
    atomic.write_json(folder.result_path, values)
    if result.report:
        atomic.write_text(folder.report_path, visible(result.report + uncertainty_report.section(values, result.uncertainty)))
    return {"state": "done", "headline": headline, "digests": dict(result.digests)}


def _running(kind: catalog.Kind, context: Context) -> Generator[Event, None, catalog.Result]:
    """The run, by this process or, where its model is split, by several."""
    model = context.manifest.model
    if model is None or model.devices < 2:
        return kind.run(context)
    from .runtime import split_model

    return split_model.run(kind, context)


def _misfits(kind: catalog.Kind, values: Mapping[str, Any], headline: Mapping[str, Any]) -> list[str]:
    """What of a result does not fit the types that the kind states. It is written all the same: no run is lost to a fault of ours."""
    stated = {"result.json": (kind.result, values), "the headline": (kind.headline, headline)}
    return [
        f"{name} does not fit its type: {what}"
        for name, (cls, written) in stated.items()
        if cls is not None
        for what in payload.differences(cls, written)[:MISFITS]
    ]


def _gpus_noted(path: Path) -> contextlib.AbstractContextManager[gpu_use.GpuHistory | None]:
    """Of a task of a scheduler, note how busy its node's GPUs are while inside: no supervisor there looks."""
    if not task_here():
        return contextlib.nullcontext()

    def note(history: gpu_use.GpuHistory) -> None:
        with contextlib.suppress(OSError):  # a full disk is for the work to tell of
            atomic.write_json(path / gpu_use.FILE, history.all_rows(), durable=False)

    return gpu_use.watched(note=note)


def _other_ranks(folder: RunFolder) -> int:
    """How many processes beside this one held the model."""
    try:
        return manifest.load(folder.manifest_path).together - 1
    except (UserError, OSError):
        return 0


def _place() -> dict[str, Any]:
    """Where this worker ran: its process, and on a cluster its task, node and GPUs."""
    place: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
    if job := task_here():
        gpus = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES") or ""
        place |= {"job": job, "node": os.environ.get("SLURMD_NODENAME", ""), "gpus": gpus}
    return place


def _headline(result: catalog.Result) -> dict[str, Any]:
    """The headline with the uncertainty of its numbers, for listings that read no result.json."""
    bars = uncertainty.of_headline(result.headline, result.values, result.uncertainty)
    if not bars:
        return dict(result.headline)
    return {**result.headline, "uncertainty": {name: bar.as_json() for name, bar in bars.items()}}


def _device(request: manifest.Manifest, shard: int, share: shards.Shard | None) -> str | None:
    """Where this worker is to compute; None where [model] says it."""
    devices = request.compute.devices
    if isinstance(devices, list):
        return shards.device_of(devices, shard, share.of if share else 1)
    if share is None:
        return None
    from .models.device import available

    # nobody has named these: where the driver lists a GPU that torch cannot use, the run must go on without it
    usable = [device for device in accelerators.for_model(request.model, accelerators.visible()) if device in available()]
    return shards.device_of(usable, shard, share.of) if usable else None


def _logged(events: Generator[Event, None, T], log: EventLog) -> T:
    """Log what the generator yields, and before it what the work has to say by `notices`; returns its value."""
    heard: collections.deque[str] = collections.deque()
    with notices.heard_by(heard.append):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                value: T = end.value
                return value
            finally:
                while heard:
                    log.append(Warned(heard.popleft()))
            log.append(event)


def _how_it_failed(error: Exception, folder: RunFolder) -> dict[str, Any]:
    """The exit record of a run that ended in `error`: what happened, and what the user can do about it."""
    if isinstance(error, Interrupted):
        return {"state": "interrupted", "reason": "stopped with a checkpoint", "advice": "resume goes on from here"}
    if isinstance(error, UserError):
        return {"state": "failed", "reason": error.what, "advice": error.hint, "bad_input": True}
    if isinstance(error, RunFailed):
        return {"state": "failed", "reason": error.reason, "advice": error.advice}
    if explanation := storage_faults.explained(error, folder.path):
        elsewhere = {} if disk_is_full(error) else {"elsewhere": True}  # this node's view of the file system may be to blame
        return {"state": "failed", "reason": explanation[0], "advice": explanation[1], **elsewhere}
    if "deterministic implementation" in str(error):
        advice = "set compute.deterministic = false; the last bits may then differ from one run to the next"
        return {"state": "failed", "reason": str(error).partition(". ")[0][:500], "advice": advice}
    if out_of_memory(error):
        return {"state": "failed", "reason": "out of memory", "advice": OUT_OF_MEMORY_ADVICE}
    reason = f"{type(error).__name__}: {error}"[:500]
    # no error that this program knows: a device or a file system of this node may be to blame
    return {"state": "failed", "reason": reason, "advice": "the traceback is in the shard's engine.log", "elsewhere": True}


def main() -> int:
    """Run the shard named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m interp_tui_engine.worker")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--spare", metavar="KIND", help="import what runs of this kind need, and wait for one at standard input")
    arguments = parser.parse_args()
    os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
    if arguments.spare:
        from .runtime.preload import preload

        parent = os.getppid()
        preload(arguments.spare)
        given = wait_for_task(parent)
        if given is None:
            return 0
        arguments = parser.parse_args(given)
    if arguments.folder is None:
        parser.error("name the run's folder")
    if arguments.rank:
        return follow(RunFolder.open(arguments.folder), arguments.shard, arguments.rank)
    return work(RunFolder.open(arguments.folder), arguments.shard)


def end(code: int) -> None:
    """End the process at once: threads may still be in the middle of a step that was given up, and taking thousands of modules apart, as
    the interpreter would, costs a second. All files are written and closed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
