"""One side of a comparison: a process of its own that does units of work on demand, and the handle by which the bench drives it.

A request is one JSON line on the child's stdin, the answer one JSON line on its stdout. The child idles, blocked on a read, while the
other side works. What libraries print goes to the log. Peak memory is the child's highest resident size ever.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".bench"

Handler = Callable[..., Mapping[str, Any]]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests `{"do": name, ...arguments}` until stdin closes. Runs in the child."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    for line in sys.stdin:
        request = json.loads(line)
        answer = handlers[request.pop("do")](**request)
        answers.write(json.dumps({**answer, "peak_mib": peak_mib()}) + "\n")
        answers.flush()


def device() -> str:
    """Where both sides of a bench compute: on the GPU that torch sees, else on the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def now() -> float:
    """Seconds of a clock, once the GPU has done what it was asked."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib() -> float:
    """Highest resident size of this process so far. Not ru_maxrss where there is better: a child begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Side:
    """A running child. Use as a context manager."""

    def __init__(self, name: str, python: Path, module: str) -> None:
        self.name = name
        logs = SCRATCH / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log_path = logs / f"{name}.log"
        self._log = self._log_path.open("w")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._child = subprocess.Popen(
            [python, "-m", module], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have the child do one thing, and wait for it. Raises RuntimeError with the end of its log if it dies."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} died:\n" + self._log_path.read_text()[-2000:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._log.close()


def ours(name: str = "ours") -> Side:
    """A child on this engine."""
    return Side(name, Path(sys.executable), "tests.bench.our_side")


def devinterp(name: str = "devinterp") -> Side:
    """A child on devinterp 2.0.1, whose environment is made if it is not there."""
    return Side(name, peer_python(), "tests.bench.devinterp_side")


def peer_python() -> Path:
    """devinterp's interpreter."""
    return environment("devinterp", "devinterp==2.0.1")


def environment(name: str, *wanted: str) -> Path:
    """The interpreter of a peer's environment under .bench/, which is made if it is not there.

    It has a torch of its own: an exact version takes the CPU build where the registry has one; both sides must have the same. With
    TORCH=here it takes this environment's, gigabytes that are here already. Wheels in .bench/wheels are looked at first.
    """
    folder = SCRATCH / name
    python = folder / "bin" / "python"
    if not is_ready(name):
        print(f"making the environment of {name} in {folder.relative_to(ROOT)} …", file=sys.stderr)
        torch = os.environ.get("TORCH", "torch==2.13.0")
        shared = ["--system-site-packages"] if torch == "here" else []
        subprocess.run([sys.executable, "-m", "venv", "--clear", *shared, folder], check=True)
        if shared:  # of an environment that is one itself, which the new one would look past
            site = next(folder.glob("lib/python*/site-packages"))
            (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
        wheels = ["--find-links", str(SCRATCH / "wheels")] if (SCRATCH / "wheels").is_dir() else []
        for package in ([] if shared else [torch]) + list(wanted):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wheels, package], check=True)
        (folder / ".ready").touch()
    return python


def is_ready(name: str) -> bool:
    """Whether a peer's environment is there, whole."""
    return (SCRATCH / name / ".ready").exists()
