"""Supervisors and workers as forks of this process, which has imported torch: they are killed as any process is, without the
seconds of importing that each would begin with.

What a fork would share and a process of its own would not is drawn anew in it: the state of the global generators. Hashes of strings stay
those of this process; the run that others are held to should come from a process of its own (`checks` in `kill` sees to it).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

WORKER = "interp_tui_engine.worker"


def warm_up() -> None:
    """Import what workers import, and compute nothing: threads of a pool would not be there after a fork."""
    import datasets  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401
    import xarray  # noqa: F401
    import zarr  # noqa: F401

    from interp_tui_engine import catalog, supervisor, worker  # noqa: F401
    from interp_tui_engine.models import load  # noqa: F401

    catalog.kinds()


class Forked:
    """A process that runs `action` to its end; as much of `subprocess.Popen` as supervisors use."""

    def __init__(self, action: Callable[[], int], output: int | None = None) -> None:
        self.returncode: int | None = None
        self.cpu = 0.0
        """Seconds of CPU that it and its children took; known once it has ended."""
        self.pid = os.fork()
        if self.pid == 0:
            _become(action, output)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, code, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.returncode, self.cpu = os.waitstatus_to_exitcode(code), used.ru_utime + used.ru_stime
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """The exit code. Raises TimeoutExpired after so many seconds."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def supervisor_of(folder: Any) -> Forked:
    """A supervisor of its own session for the folder, whose workers are forks too."""

    def supervise() -> int:
        from interp_tui_engine import supervisor
        from interp_tui_engine.supervision.executors import local

        assert hasattr(local, "subprocess"), "workers are started elsewhere: they would be no forks"
        setattr(local, "subprocess", _Processes)  # noqa: B010  (what is replaced is a module)
        sys.argv = ["supervisor", str(folder.path)]
        return supervisor.main()

    with (folder.path / "supervisor.log").open("ab") as log:
        return Forked(supervise, log.fileno())


class _Processes:
    """Stands for the module `subprocess` where workers are started."""

    DEVNULL = subprocess.DEVNULL

    @staticmethod
    def Popen(command: Sequence[str], *, stdout: Any, **rest: Any) -> Forked:
        assert WORKER in command, command
        arguments = list(command[command.index(WORKER) :])

        def work() -> int:
            from interp_tui_engine import worker

            sys.argv = arguments
            return worker.main()

        return Forked(work, stdout.fileno())


def _become(action: Callable[[], int], output: int | None) -> None:
    """In the new process: its own session, nothing of the old one's files and generators, then the action and the end."""
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number, target in ((0, null), (1, output or null), (2, output or null)):
            os.dup2(target, number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _draw_anew()
        status = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _draw_anew() -> None:
    import numpy as np
    import torch

    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
