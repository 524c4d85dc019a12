"""The parts of `make gpu`: each a function of its folder and its seconds, which runs processes and says what came of them.

Whatever goes wrong in a part is its result: no part ends the others. What its processes said stays in its folder, N-out.txt and N-err.txt.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.side import is_ready

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = "shards/*/checkpoint/chain-*.pt"
"""Where a sampling run has left one, below its folder."""


class Outcome(NamedTuple):
    """What a part showed. cut_short: it did not come to its end, for want of time or of a peer, and is run again next time."""

    held: bool
    seconds: float
    note: str
    figures: dict[str, Any]
    cut_short: bool = False


class TooSlow(Exception):
    """A part's time is over."""


class Missing(Exception):
    """Something that a part needs is not here; the message says how to get it."""


class Clock:
    """A part's time, and the processes that it runs, which end with it. They write to files in its folder."""

    def __init__(self, seconds: float, folder: Path) -> None:
        self.began, self._until = time.monotonic(), time.monotonic() + seconds
        self._folder = folder
        self._started: list[subprocess.Popen[str]] = []

    @property
    def left(self) -> float:
        """Seconds; raises TooSlow where there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TooSlow
        return left

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A Python process with this checkout's sources, to its end. Raises TooSlow."""
        return self.ended(self.start(*command, **environment))

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """A Python process in a session of its own."""
        paths = [ROOT / "engine", ROOT / "tui", ROOT, ROOT / "tests"]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), **environment}
        place, nothing = self._folder / str(len(self._started) + 1), subprocess.DEVNULL
        with Path(f"{place}-out.txt").open("w") as out, Path(f"{place}-err.txt").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, *command], env=env, cwd=ROOT, stdin=nothing, stdout=out, stderr=err, text=True, start_new_session=True
            )
        self._started.append(process)
        return process

    def ended(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """What a process said, once it has ended. Raises TooSlow."""
        try:
            process.wait(timeout=self.left)
        except subprocess.TimeoutExpired:
            raise TooSlow from None
        place = self._folder / str(self._started.index(process) + 1)
        said = [Path(f"{place}-{name}.txt").read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def close(self) -> None:
        """End whatever still runs, and what it has started."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def first_fault(ended: subprocess.CompletedProcess[str]) -> str:
    """What a process that failed says of why: pytest's first error, or the last line that is not empty."""
    lines = [line.strip() for line in (ended.stdout + "\n" + ended.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E  ", "ERROR", "FAILED"))]
    return (errors or lines[-1:] or [f"nothing; exit code {ended.returncode}"])[0][:300]


def timed(do: Callable[[Path, Clock], tuple[bool, str, dict[str, Any]]]) -> Callable[[Path, float], Outcome]:
    """A part from what it does in an empty folder."""

    def run(folder: Path, seconds: float) -> Outcome:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        clock = Clock(seconds, folder.resolve())
        try:
            held, note, figures = do(folder.resolve(), clock)
        except TooSlow:
            return Outcome(False, time.monotonic() - clock.began, "its time was over", {}, cut_short=True)
        except Missing as what:
            return Outcome(False, time.monotonic() - clock.began, str(what), {}, cut_short=True)
        except Exception as error:  # a fault of the part's own: the other parts are to run
            (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
            return Outcome(False, time.monotonic() - clock.began, f"the part itself failed: {type(error).__name__}: {error}"[:300], {})
        finally:
            clock.close()
        return Outcome(held, time.monotonic() - clock.began, note, figures)

    return run


def tests(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """Those marked gpu; of the files that hold one, so that no time goes into collecting the others."""
    files = sorted(str(path) for path in (ROOT / "tests" / "engine").rglob("test_*.py") if "mark.gpu" in path.read_text(encoding="utf-8"))
    ended = clock.run("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "-rfE", *files)
    last = (ended.stdout.strip().splitlines() or ["no output"])[-1]
    if ended.returncode == 0:
        return True, last, {}
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return False, f"{last}; first: {first_fault(ended)}", {f"failed {at + 1}": line[:200] for at, line in enumerate(failed)}


def known(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """`certify`'s quick cases, in this environment: problems whose answer is known."""
    ended = clock.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "tests/engine/samplers/test_certify_cases.py")
    last = (ended.stdout.strip().splitlines() or ["no output"])[-1]
    return ended.returncode == 0, last if ended.returncode == 0 else first_fault(ended), {}


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
        ended = clock.run("-m", "interp_tui", "--batch", str(path), "--out", str(path.with_suffix("")))
        values = result(path.with_suffix(""))
        if values.get("llc_mean") is None:
            return False, f"{name}: the run failed: {first_fault(ended)}", {}
        estimates[name] = values["llc_mean"], values["llc_std_error"] or 0.0
    reference, error = estimates["cpu"]
    apart = {name: abs(mean - reference) / max(1e-9, (error**2 + own**2) ** 0.5) for name, (mean, own) in estimates.items()}
    figures = {f"llc, {name}": f"{mean:.3f} ± {own:.3f}" for name, (mean, own) in estimates.items()}
    return max(apart.values()) < 4, f"at most {max(apart.values()):.1f} combined errors from the CPU's", figures


def resume(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """A run killed on the GPU and resumed has the bits of one that was not."""
    through, killed = manifest(folder, "through", "cuda", 300), manifest(folder, "killed", "cuda", 300)
    whole = clock.run("-m", "interp_tui", "--batch", str(through), "--out", str(folder / "through"))
    if not digests(folder / "through"):
        return False, f"the run failed: {first_fault(whole)}", {}
    process = clock.start("-m", "interp_tui", "--batch", str(killed), "--out", str(folder / "killed"))
    while process.poll() is None and not list((folder / "killed").glob(CHECKPOINT)):
        time.sleep(min(0.1, clock.left))
    worker = worker_of(folder / "killed")
    if process.poll() is not None or worker is None:
        return False, f"it had ended before it could be killed: {first_fault(clock.ended(process))}", {}
    os.kill(worker, signal.SIGKILL)
    clock.ended(process)
    again = clock.run("-m", "interp_tui", "--batch", str(killed), "--out", str(folder / "killed"), "--resume")
    if not digests(folder / "killed"):
        return False, f"it was not resumed: {first_fault(again)}", {}
    same = digests(folder / "through") == digests(folder / "killed")
    return same, "equal, bit for bit" if same else "the resumed run differs", {}


def worker_of(run: Path) -> int | None:
    """The process that computes a run; None where nobody does."""
    try:
        pid = json.loads((run / "status.json").read_text(encoding="utf-8")).get("worker_pid")
    except (OSError, ValueError):
        return None
    return pid if isinstance(pid, int) else None


def replay(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """A run and its replay on the same GPU."""
    path = manifest(folder, "first", "cuda", 30)
    clock.run("-m", "interp_tui", "--batch", str(path), "--out", str(folder / "first"))
    ended = clock.run("-m", "interp_tui", "replay", str(folder / "first"), "--check", "--out", str(folder / "second"))
    return ended.returncode == 0, "equal, bit for bit" if ended.returncode == 0 else first_fault(ended), {}


def step(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
    """The profile of a step: kernels and waits, by PyTorch's profiler."""
    ended = clock.run("-m", "tests.gpu.profile_step", str(folder / "step.json"))
    if ended.returncode != 0:
        return False, first_fault(ended), {}
    return True, "profile in step.json", json.loads((folder / "step.json").read_text(encoding="utf-8"))


def bench(name: str, *peers: str) -> Callable[[Path, Clock], tuple[bool, str, dict[str, Any]]]:
    """A bench beside its peers, whose environments under .bench/ must be there: making them would take the GPU's minutes."""

    def run(folder: Path, clock: Clock) -> tuple[bool, str, dict[str, Any]]:
        if missing := [peer for peer in peers if not is_ready(peer)]:
            raise Missing(f"no environment of {' and '.join(missing)}: `python -m tests.gpu --prepare` makes it, without a GPU")
        ended = clock.run("-m", "tests.bench", name, "--quick", "--json", str(folder / "bench.json"))
        if not (folder / "bench.json").exists():
            return False, first_fault(ended), {}
        written = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
        figures = written["results"][name]["figures"]
        on_gpu = written["machine"]["gpu"] is not None
        return on_gpu, "" if on_gpu else "it ran on the CPU", {figure["name"]: figure["value"] for figure in figures}

    return run


def prepare() -> list[str]:
    """Make what benches need and a GPU is no help with: peers' environments and the model's files. Gives what went wrong."""
    from tests.bench import passes, sae, side

    os.environ.setdefault("TORCH", "here")
    wanted: dict[str, Callable[[], object]] = {
        "devinterp": side.peer_python,
        "saelens": partial(side.environment, "saelens", sae.PEER),
        **{name: partial(side.environment, name, *packages) for name, packages in passes.PEERS.items()},
        "SmolLM2 (make smollm2 fetches it)": passes.unpack,
    }
    faults = []
    for name, make in wanted.items():
        try:
            make()
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {error}"[:300])
    return faults


PARTS: dict[str, tuple[float, Callable[[Path, float], Outcome]]] = {
    "tests": (120.0, timed(tests)),
    "step": (60.0, timed(step)),
    "certify": (120.0, timed(certify)),
    "resume": (90.0, timed(resume)),
    "replay": (60.0, timed(replay)),
    "bench tiny": (120.0, timed(bench("tiny", "devinterp"))),
    "bench sae": (120.0, timed(bench("sae", "saelens"))),
    "bench patching": (120.0, timed(bench("patching", "nnsight", "transformer_lens"))),
    "known cases": (90.0, timed(known)),
}
"""Name -> (seconds at most, what it does), the most telling first."""
