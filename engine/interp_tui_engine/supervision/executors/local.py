"""Tasks as processes of this machine, each of its own session: a spare one that has imported its libraries, else a new one. Torch-free."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, final

from ...status import STARTED_BY
from ...untrusted import open_to_append
from . import spare_worker
from .executor import StartedTask, Task, TaskExecutor


@final
class LocalJob(StartedTask):
    """A child process."""

    order_patience = 4.0  # a worker's orders are looked at ten times a second, whatever else it does

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.id = str(process.pid)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def started(self) -> bool:
        return True

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def left(self, record: Mapping[str, Any]) -> bool:
        return record.get("pid") == self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def cancel(self) -> None:
        self._process.terminate()


@final
class LocalExecutor(TaskExecutor):
    """Starts processes here. They end with their supervisor: there is never one to adopt."""

    tick = 0.1

    def adopt(self, task: Task) -> StartedTask | None:
        return None

    def submit(self, tasks: Sequence[Task], *, avoid: Sequence[str] = ()) -> list[StartedTask]:
        return [LocalJob(_start(task)) for task in tasks]

    def may_retry(self, name: str) -> bool:
        return False

    def summary(self) -> Mapping[str, Any]:
        return {}

    def provenance(self) -> Mapping[str, Any]:
        return {}


def _start(task: Task) -> subprocess.Popen[bytes]:
    environment = {**task.environment, STARTED_BY: str(os.getpid())}
    if (ready := spare_worker.take(task.command, environment, task.log)) is not None:
        return ready
    with open_to_append(task.log) as log:
        return subprocess.Popen(task.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment)
