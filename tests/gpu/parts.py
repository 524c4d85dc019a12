"""The parts of `make gpu`: each a function of its folder and its seconds, which runs processes and says what came of them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """What a part showed. cut_short: its time ran out, so that it is run again next time."""

    held: bool
    seconds: float
    note: str
    figures: dict[str, Any]
    cut_short: bool = False


class TooSlow(Exception):
    """A part's time is over."""


class Clock:
    """A part's time."""

    def __init__(self, seconds: float) -> None:
        self.began, self._until = time.monotonic(), time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; raises TooSlow where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TooSlow
        return left

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A Python process with this checkout's sources, ended with its children when the time is over."""
        process = start(*command, **environment)
        try:
            out, err = process.communicate(timeout=self.left)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise TooSlow from None
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    """A Python process in a session of its own."""
    paths = [ROOT / "engine", ROOT / "tui", ROOT, ROOT / "tests"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], env=env, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def timed(do: Callable[[Path, Clock], tuple[bool, str, dict[str, Any]]]) -> Callable[[Path, float], Outcome]:
    """A part from what it does in an empty folder."""

    def run(folder: Path, seconds: float) -> Outcome:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        clock = Clock(seconds)
        try:
            held, note, figures = do(folder.resolve(), clock)
        except TooSlow:
            return Outcome(False, time.monotonic() - clock.began, "its time was over", {}, cut_short=True)
        return Outcome(held, time.monotonic() - clock.began, note, figures)

    return run


def tests(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """Those marked gpu."""
    ended = clock.run("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/engine")
    last = (ended.stdout.strip().splitlines() or ["no output"])[-1]
    return ended.returncode == 0, last, {}


def manifest(folder: Path, name: str, device: str, draws: int, extra: str = "", chains: str = "auto", noise: str = "auto") -> Path:
    """An llc run of the embedded model."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'kind = "llc"\nname = "{name}"\n[model]\nsource = "builtin:tiny"\ndevice = "{device}"\n'
        '[data.train]\nsource = "builtin:prose"\ncontext = 64\nrows = 128\n'
        f"[params]\nlr = 2.5e-5\nn_beta = 300.0\nlocalization = 100.0\nnum_chains = 4\nnum_draws = {draws}\nbatch_size = 16\n"
        'num_init_loss_batches = 4\nsampling_data = "train"\nobservables = { train = 1 }\n'
        f'[compute]\nchains = "{chains}"\nnoise = "{noise}"\ncheckpoint_every = "1s"\n{extra}'
    )
    return path


def result(run: Path) -> dict[str, Any]:
    """A run's result.json; empty where there is none."""
    try:
        loaded: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except OSError:
        return {}
    return loaded


def digests(run: Path) -> Mapping[str, Any]:
    """The sha256 of a finished run's arrays."""
    import tomli

    table = tomli.loads((run / "manifest.toml").read_text(encoding="utf-8"))
    found: Mapping[str, Any] = table.get("result", {}).get("sha256", {})
    return found


def certify(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """Chains on the GPU stacked and in series, with either noise, and on the CPU: estimates of one thing, equal within their errors."""
    estimates: dict[str, tuple[float, float]] = {}
    for name, device, chains, noise in [
        ("cpu", "cpu", "serial", "torch"),
        ("stacked", "cuda", "stacked", "philox"),
        ("vmap", "cuda", "vmap", "philox"),
        ("serial", "cuda", "serial", "philox"),
        ("serial, torch", "cuda", "serial", "torch"),
    ]:
        path = manifest(folder, name.replace(", ", "-"), device, 60, chains=chains, noise=noise)
        clock.run("-m", "interp_tui", "--batch", str(path), "--out", str(path.with_suffix("")))
        values = result(path.with_suffix(""))
        if "llc_mean" not in values:
            return False, f"{name}: the run failed", {}
        estimates[name] = values["llc_mean"], values["llc_std_error"] or 0.0
    reference, error = estimates["cpu"]
    apart = {name: abs(mean - reference) / max(1e-9, (error**2 + own**2) ** 0.5) for name, (mean, own) in estimates.items()}
    figures = {f"llc, {name}": f"{mean:.3f} ± {own:.3f}" for name, (mean, own) in estimates.items()}
    return max(apart.values()) < 4, f"at most {max(apart.values()):.1f} combined errors from the CPU's", figures


def resume(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """A run killed on the GPU and resumed has the bits of one that was not."""
    through, killed = manifest(folder, "through", "cuda", 300), manifest(folder, "killed", "cuda", 300)
    clock.run("-m", "interp_tui", "--batch", str(through), "--out", str(folder / "through"))
    process = start("-m", "interp_tui", "--batch", str(killed), "--out", str(folder / "killed"))
    while process.poll() is None and not list((folder / "killed").glob("shards/*/checkpoint/chain-*.pt")):
        time.sleep(min(0.1, clock.left))
    status = json.loads((folder / "killed" / "status.json").read_text(encoding="utf-8"))
    was_running = process.poll() is None
    if was_running and status.get("worker_pid"):
        os.kill(status["worker_pid"], signal.SIGKILL)
    process.communicate(timeout=clock.left)
    clock.run("-m", "interp_tui", "--batch", str(killed), "--out", str(folder / "killed"), "--resume")
    same = bool(digests(folder / "through")) and digests(folder / "through") == digests(folder / "killed")
    return same and was_running, "equal, bit for bit" if same else "the resumed run differs", {"killed while running": was_running}


def replay(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """A run and its replay on the same GPU."""
    path = manifest(folder, "first", "cuda", 30)
    clock.run("-m", "interp_tui", "--batch", str(path), "--out", str(folder / "first"))
    ended = clock.run("-m", "interp_tui", "replay", str(folder / "first"), "--check", "--out", str(folder / "second"))
    return ended.returncode == 0, "equal, bit for bit" if ended.returncode == 0 else ended.stdout.strip()[-200:], {}


def step(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """The profile of a step: kernels and waits, by PyTorch's profiler."""
    ended = clock.run("-m", "tests.gpu.profile_step", str(folder / "step.json"))
    if ended.returncode != 0:
        return False, ended.stderr.strip()[-200:], {}
    return True, "profile in step.json", json.loads((folder / "step.json").read_text(encoding="utf-8"))


def bench(name: str, peer: str) -> Callable[[Path, Clock], tuple[bool, str, dict[str, Any]]]:
    """A bench beside its peer, which is given by the module that must be there."""

    def run(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
        if importlib.util.find_spec(peer) is None:
            return True, f"{peer} is not installed here, so there is nothing to compare with", {}
        ended = clock.run("-m", "tests.bench", name, "--quick", "--json", str(folder / "bench.json"))
        if not (folder / "bench.json").exists():
            return False, ended.stderr.strip()[-200:], {}
        results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))["results"]
        figures = results[name]["figures"] if isinstance(results, dict) else []
        return True, "", {figure["name"]: figure["value"] for figure in figures if "name" in figure}

    return run


PARTS: dict[str, tuple[float, Callable[[Path, float], Outcome]]] = {
    "tests": (120.0, timed(tests)),
    "step": (60.0, timed(step)),
    "certify": (120.0, timed(certify)),
    "resume": (90.0, timed(resume)),
    "replay": (60.0, timed(replay)),
    "bench tiny": (120.0, timed(bench("tiny", "devinterp"))),
    "bench sae": (120.0, timed(bench("sae", "sae_lens"))),
    "bench patching": (120.0, timed(bench("patching", "nnsight"))),
}
"""Name -> (seconds at most, what it does), the most telling first."""
