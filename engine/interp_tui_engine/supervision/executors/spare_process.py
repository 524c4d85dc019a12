"""A process that is started before it is needed, imports what it will need, and waits at a pipe for its one task. Torch-free.

Only the process that started it holds the other end of the pipe: nothing listens, and when that process ends, so does the spare. It is used
once. What it has imported is what a fresh process would import now: with other sources, or another environment than that of the task, it
is not used. It ends by itself when nobody has needed it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

from ...untrusted import open_to_append

IDLE = 300.0
"""Seconds for which a spare may be used."""
SLACK = 60.0
"""Seconds for which it stays beyond that: none ends while it is handed its task."""
WITHOUT = "INTERP_TUI_NO_SPARE"
"""Variable that, set to anything, has no process started ahead."""
AT_HAND_OVER = ("INTERP_TUI_", "CUDA_VISIBLE_DEVICES")
"""How variables begin that are read when they are needed, and may therefore come with the task. All others must be as they were."""
LIBRARIES = ("torch", "transformers", "numpy")


@final
class Spare:
    """One such process, as whoever started it sees it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._environment, self._sources, self._started = dict(environment), sources(), time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment,
        )

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a process started now, in this environment, would be the same."""
        young = time.monotonic() - self._started < IDLE
        same = _lasting(environment) == _lasting(self._environment)
        return young and same and self.process.poll() is None and sources() == self._sources

    def hand_over(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> bool:
        """Give it its task: to go on as if it had been started with these arguments, in this folder, its output appended to `log`.

        False where it has ended meanwhile. Raises OSError where the log cannot be written.
        """
        open_to_append(log).close()
        late = {name: environment.get(name) for name in {*environment, *self._environment} if name.startswith(AT_HAND_OVER)}
        task = {"arguments": list(arguments), "environment": late, "folder": str(folder), "log": str(log.absolute())}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.close()
        except OSError:
            return False
        return True

    def end(self) -> None:
        """Let it end: it has been given nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        threading.Thread(target=self.process.wait, daemon=True).start()  # an ended child stays in the process table until it is asked for


@final
class Spares:
    """At most one spare, of whatever `command` starts for a hint of what it will be needed for."""

    def __init__(self, command: Callable[[str], Sequence[str]]) -> None:
        self._command = command
        self._spare: Spare | None = None
        self._lock = threading.Lock()

    def keep(self, hint: str, environment: Mapping[str, str]) -> None:
        """Have one ready soon. Costs nothing where one is, or where `INTERP_TUI_NO_SPARE` is set."""
        if os.environ.get(WITHOUT):
            return
        with self._lock:
            if self._spare is not None and self._spare.fits(environment):
                return
            if self._spare is not None:
                self._spare.end()
            try:
                self._spare = Spare(self._command(hint), environment)
            except OSError:  # no room for another process: the task will be started when it comes, if it can be
                self._spare = None

    def take(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes] | None:
        """The spare, gone to its task; None where there is none that fits. Raises OSError where the log cannot be written."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is None:
            return None
        if spare.fits(environment) and spare.hand_over(arguments, environment, folder, log):
            return spare.process
        spare.end()
        return None

    def close(self) -> None:
        """Let the spare end, if there is one."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.end()


def wait_for_task(parent: int) -> list[str] | None:
    """In a spare: wait for its task and become the process it was started for. None when it is not needed.

    parent: the process that started it; a task of one that is gone is nobody's.
    """
    if not select.select([sys.stdin], [], [], IDLE + SLACK)[0]:
        return None
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n") or os.getppid() != parent:
        return None
    task = json.loads(line)
    for name, value in task["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.chdir(task["folder"])
    with open_to_append(Path(task["log"])) as log, Path(os.devnull).open("rb") as nothing:
        for descriptor, number in ((nothing.fileno(), 0), (log.fileno(), 1), (log.fileno(), 2)):
            os.dup2(descriptor, number)
    return list(task["arguments"])


def sources() -> tuple[float, ...]:
    """When what a spare imports last changed: this package's files, and the libraries'."""
    package = Path(__file__).resolve().parent.parent.parent
    newest = max(file.stat().st_mtime for file in package.rglob("*.py"))
    return (newest, *map(_changed, LIBRARIES))


def _changed(library: str) -> float:
    spec = importlib.util.find_spec(library)
    return Path(spec.origin).stat().st_mtime if spec is not None and spec.origin else 0.0


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(AT_HAND_OVER)}
