"""Workers and supervisors started ahead, killed wherever in their lives: nothing is left behind, and the numbers are those of fresh ones.

All are processes of their own here, not forks: what is tried is what they start, and how that ends. They are known by a variable that each
inherits; whether a spare still waits, by its standard input (Linux).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from .check import Check
from .kill import compared, numbers_of
from .requests import small

QUICK = ("llc as a sweep",)
MARK = "INTERP_TUI_TORTURE"
PATIENCE = 300.0
"""Seconds for all processes of a killed one to be gone, and for one that is waited for to come: spares end when their imports have."""
LOOK = 0.02
CLIENT = """
import sys, time
from pathlib import Path
from interp_tui_engine import supervisor
from interp_tui_engine.runfolder import RunFolder
supervisor.get_ready("llc")
while not Path(sys.argv[2]).exists():
    time.sleep(0.02)
supervisor.launch(RunFolder(Path(sys.argv[1])), timeout=300)
time.sleep(600)
"""


def parts(quick: bool) -> Sequence[str]:
    """A sweep and a pipeline, whose supervisor keeps a spare worker; a client such as the app, which keeps a spare supervisor with one."""
    return QUICK if quick else (*QUICK, "pipeline", "llc from a client")


class Family:
    """A process with all that come of it."""

    def __init__(self, command: Sequence[str]) -> None:
        from interp_tui_engine import supervisor
        from interp_tui_engine.supervision.executors import spare_process

        self._mark = uuid.uuid4().hex
        environment = supervisor.environment() | {MARK: self._mark}
        environment.pop(spare_process.WITHOUT, None)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.head = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)  # type: ignore[call-overload]

    def members(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _variable(process, MARK) == self._mark]

    def spares(self, module: str, *, waiting: bool) -> list[psutil.Process]:
        """Those of this module that were started ahead: that still wait, or that have got their task."""
        ahead = [process for process in self.members() if {f"interp_tui_engine.{module}", "--spare"} <= set(_command(process))]
        return [process for process in ahead if _waits(process) is waiting]

    def gone(self) -> bool:
        """Whether all have ended within the time there is."""
        deadline = time.monotonic() + PATIENCE
        while self.head.poll() is None or self.members():
            if time.monotonic() > deadline:
                for process in self.members():
                    process.kill()
                return False
            time.sleep(0.1)
        return True


Strike = Callable[[Family], bool]
"""Kill somebody if the moment has come; whether it had."""


def _kill(process: Any) -> bool:
    process.kill()
    return True


STRIKES: dict[str, Strike] = {
    "nobody is killed": lambda family: bool(family.spares("worker", waiting=False)),
    "its supervisor, a spare waiting": lambda family: bool(family.spares("worker", waiting=True)) and _kill(family.head),
    "a spare that waits": lambda family: any(_kill(spare) for spare in family.spares("worker", waiting=True)),
    "a spare at its task": lambda family: any(_kill(spare) for spare in family.spares("worker", waiting=False)),
    "its supervisor, as a spare gets its task": lambda family: bool(family.spares("worker", waiting=False)) and _kill(family.head),
}


FROM_A_CLIENT = ("the client, a spare waiting", "a spare supervisor that waits", "the client, once the run is launched")


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each way to strike, and one for what a spare holds while it waits."""
    del seed
    with tempfile.TemporaryDirectory() as place:
        request, numbers = _whole(name, Path(place) / "whole")
        if numbers is None:
            yield Check(f"{name}, whole", False, "did not end well")
        elif name.endswith("client"):
            yield from _from_a_client(request, Path(place), numbers)
        else:
            yield from _with_children(name, quick, request, Path(place), numbers)


def request_of(name: str) -> Any:
    """Of three points, or steps, that take a second each."""
    from interp_tui_engine import manifest

    tables = small(name.split(" ")[0])
    if name != "pipeline":
        tables["params"] |= {"num_draws": 100}
        tables |= {"compute": {"checkpoint_every": "0.2s"}}
    if name.endswith("sweep"):
        tables |= {"sweep": {"params.lr": [1e-5, 2e-5, 3e-5]}}
    return manifest.resolve(tables)


def _whole(name: str, path: Path) -> tuple[Any, Any]:
    """The request and, where it ends well, its numbers without any spare."""
    from interp_tui_engine import supervisor
    from interp_tui_engine.supervision.executors import spare_process

    os.environ[spare_process.WITHOUT] = "1"
    request = request_of(name)
    folder = supervisor.prepare(request, path)
    status = supervisor.supervise(folder)
    return request, numbers_of(folder) if status.state == "done" else None


def _with_children(name: str, quick: bool, request: Any, place: Path, numbers: Any) -> Iterator[Check]:
    from interp_tui_engine import supervisor

    names = [*STRIKES][1:2] if quick else [*STRIKES]
    for number, struck in enumerate(names):
        folder, what = supervisor.prepare(request, place / f"{number}"), f"{name}: {struck}"
        family = Family([*supervisor.COMMAND, str(folder.path)])
        if not _until(family, STRIKES[struck]):
            yield Check(what, False, "no such moment came")
        yield from _ended(what, family, folder, numbers)


def _from_a_client(request: Any, place: Path, numbers: Any) -> Iterator[Check]:
    """A client killed before it launches its run, or once it has; its spare killed, which it then does without."""
    from interp_tui_engine import supervisor

    for number, struck in enumerate(
        ("the client, a spare waiting", "a spare supervisor that waits", "the client, once the run is launched")
    ):
        folder, go = supervisor.prepare(request, place / f"{number}"), place / f"go-{number}"
        family = Family([sys.executable, "-c", CLIENT, str(folder.path), str(go)])
        came = _until(family, lambda family: bool(family.spares("worker", waiting=True)))
        if number == 0:
            yield _of_a_spare(family)
        if number == 1:
            came = came and any(_kill(spare) for spare in family.spares("supervisor", waiting=True))
        if number > 0:
            go.touch()
            came = came and _until(family, lambda family, folder=folder: folder.status().owner is not None)  # type: ignore[misc]
        family.head.kill()
        if not came:
            yield Check(f"llc: {struck}", False, "no such moment came")
        yield from _ended(f"llc: {struck}", family, folder, numbers)


def _until(family: Family, strike: Strike) -> bool:
    """Whether the moment to strike came before the head of the family ended."""
    deadline = time.monotonic() + PATIENCE
    while family.head.poll() is None and time.monotonic() < deadline:
        if strike(family):
            return True
        time.sleep(LOOK)
    return False


def _ended(what: str, family: Family, folder: Any, numbers: Any) -> Iterator[Check]:
    """Whether nobody is left, and the run, gone on with where it has to be, has its numbers."""
    from interp_tui_engine import supervisor

    began = time.monotonic()
    yield Check(f"{what}: all processes end", family.gone(), f"{time.monotonic() - began:.1f} s")
    state = folder.status().state
    if state != "done":
        resumed = Family([*supervisor.COMMAND, str(folder.path)])
        yield Check(f"{what}, gone on with: all processes end", resumed.gone(), f"was {state}")
    yield compared(f"{what}: numbers", folder, numbers, int(state != "done"))


def _of_a_spare(family: Family) -> Check:
    """What a spare holds once it has imported everything: no device, no connection, no processor time, and how much memory."""
    what = "llc from a client: what a spare holds"
    if not _until(family, lambda family: any(_idle(spare) for spare in family.spares("worker", waiting=True))):
        return Check(what, False, "none was seen")
    (spare,) = family.spares("worker", waiting=True)
    devices = [file.path for file in spare.open_files() if "nvidia" in file.path]
    memory, connections = spare.memory_full_info(), spare.net_connections()
    sizes = f"{memory.rss >> 20} MiB resident, {memory.pss >> 20} its share, {memory.uss >> 20} its alone"
    note = f"{sizes}; {spare.num_threads()} threads, {sum(spare.cpu_times()[:2]):.1f} s of CPU"
    return Check(what, not devices and not connections, note)


def _idle(process: psutil.Process) -> bool:
    """Whether it has worked, and does nothing for a second."""
    before = process.cpu_times()
    if before.user < 1.0:
        return False
    time.sleep(1.0)
    return process.status() == psutil.STATUS_SLEEPING and process.cpu_times()[:2] == before[:2]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.environ().get(name)
    except psutil.Error:
        return None


def _waits(process: psutil.Process) -> bool | None:
    """Whether its standard input is still the pipe by which it gets its task; None where it is gone."""
    try:
        return str(Path(f"/proc/{process.pid}/fd/0").readlink()).startswith("pipe:")
    except OSError:
        return None
