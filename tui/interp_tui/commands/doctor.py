"""`doctor`: what this machine and installation offer, and what to do about what is missing.

Torch-free, and says of credentials only whether there are any.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from . import extras
from .output import columns, out, out_json
from .shared import JsonOption, RunsOption

OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the report as JSON too: plan --env-profile reads it.")]

PACKAGES = ("interp-tui", "torch", "transformers", "datasets", "textual", "pydantic", "zarr", "xarray", "numpy")
KEYS = {"judge": "INTERP_TUI_API_KEY", "Neuronpedia": "NEURONPEDIA_API_KEY", "Goodfire": "GOODFIRE_API_KEY", "NDIF": "NDIF_API_KEY"}
GPU_PATIENCE = 120.0
"""Seconds for torch to be imported and each GPU to be tried."""
LOW_DISK = 5 * 10**9
LOW_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One line of the report; `advice` is empty where all is well."""

    name: str
    found: str
    advice: str = ""
    free_bytes: int | None = None
    """Of memory, disk and the freest accelerator: what `plan --env-profile` reads on another machine."""


def doctor(runs: RunsOption = None, json: JsonOption = False, out_file: OutOption = None) -> int:
    """Report what this machine offers and what is missing."""
    findings = list(examine(runs))
    records = [{"ok": not finding.advice, **{k: v for k, v in asdict(finding).items() if v is not None}} for finding in findings]
    if out_file is not None:
        from interp_tui_engine import atomic

        out_file.absolute().parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(out_file, records)
    if json:
        out_json(records)
        return 0
    mark = {True: "ok", False: "warn"}
    for line in columns((mark[not finding.advice], finding.name, finding.found) for finding in findings):
        out(line)
    advice = [finding for finding in findings if finding.advice]
    if advice:
        out()
        out("what to do")
        for line in columns((f"  {finding.name}", finding.advice) for finding in advice):
            out(line)
    return 0


def examine(runs: Path | None) -> Iterator[Check]:
    """Every finding, in the order of the report."""
    yield _python()
    yield from (_package(name) for name in PACKAGES)
    yield _extras()
    yield _cores()
    yield _memory()
    yield _accelerators()
    yield from _gpu_checks()
    yield _disk(runs)
    yield _terminal()
    yield _credentials()
    yield _keys()
    yield _builtin_model()
    yield _themes()
    yield _config()
    yield _runs(runs)
    yield _estimates(runs)


def _python() -> Check:
    old = sys.version_info < (3, 11)
    return Check("python", f"{platform.python_version()} at {sys.executable}", "interp-tui needs 3.11 or newer" if old else "")


def _package(name: str) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check(name, version(name))
    except PackageNotFoundError:
        where = "pip install interp-tui" if name != "interp-tui" else "run from a source tree; versions in manifests will lack it"
        return Check(name, "not installed", where)


def _extras() -> Check:
    faults = extras.faults(extras.installed())
    present = [name if name not in faults else f"{name} (does not import)" for name in extras.installed()]
    absent = ", ".join(extra for extra in extras.MODULES if extra not in extras.installed())
    advice = "; ".join(f"{name}: {fault}; pip install 'interp-tui[{name}]' in a new environment" for name, fault in faults.items())
    return Check("extras", (", ".join(present) or "none") + (f" (not: {absent})" if absent else ""), advice)


def _cores() -> Check:
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = f"the load is {load:.1f}: runs will be slow and timings wrong" if load > 1.5 * usable else ""
    return Check("cores", f"{usable} usable, {psutil.cpu_count(logical=False) or '?'} physical, load {load:.1f}", busy)


def _memory() -> Check:
    import psutil

    from ..terminal import host

    memory = psutil.virtual_memory()
    low = "close something, or lower batch_size and compute.threads" if memory.available < LOW_MEMORY else ""
    return Check("memory", f"{host.size(memory.available)} available of {host.size(memory.total)}", low, memory.available)


def _accelerators() -> Check:
    from ..terminal import host

    if gpus := host.asked_gpus():
        memory = ", ".join(f"{gpu.name} {host.size(gpu.total - gpu.used)} free of {host.size(gpu.total)}" for gpu in gpus)
        return Check("accelerators", memory, free_bytes=max(gpu.total - gpu.used for gpu in gpus))
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return Check("accelerators", "Apple GPU (mps)")
    unseen = Path("/dev/nvidia0").exists()
    return Check(
        "accelerators", "none found: runs use the CPU", "there is an NVIDIA device but no nvidia-smi: check the driver" if unseen else ""
    )


def _gpu_checks() -> Iterator[Check]:
    """A second of work on each GPU, by a process that imports torch: only where the driver lists one."""
    import json
    import subprocess

    from interp_tui_engine import accelerators

    if not accelerators.visible():
        return
    try:
        command = [sys.executable, "-P", "-m", "interp_tui_engine.runtime.gpu_check"]
        report = json.loads(
            subprocess.run(command, capture_output=True, text=True, timeout=GPU_PATIENCE, check=True).stdout.splitlines()[-1]
        )
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        words = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        yield Check(
            "GPU check", f"did not run: {(words or ['no reason given'])[-1][:200]}", "runs on the GPU will fail alike; see the driver"
        )
        return
    if len(report) < len(accelerators.visible()):
        what = f"torch can use {len(report)} of the {len(accelerators.visible())} GPUs that the driver lists"
        yield Check("GPU check", what, "install a build of torch for their architecture and driver (https://pytorch.org/get-started)")
    for gpu in report:
        said = ", ".join(f"{trial['name']} {trial['result']}" for trial in gpu["trials"])
        yield Check(gpu["device"], said, "; ".join(trial["advice"] for trial in gpu["trials"] if trial["advice"]))


def _disk(runs: Path | None) -> Check:
    from interp_tui_engine.runfolder import runs_root

    from ..terminal import host

    root = runs_root(runs)
    place = next(parent for parent in (root, *root.parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("runs folder", f"{host.short_path(root)}: not writable", "choose another with --runs or INTERP_TUI_RUNS")
    low = "delete old runs, or choose another place with --runs or INTERP_TUI_RUNS" if free < LOW_DISK else ""
    return Check("runs folder", f"{host.short_path(root)}, {host.size(free)} free", low, free)


def _terminal() -> Check:
    if not sys.stdout.isatty():
        return Check("terminal", "none here (output goes to a pipe or file)")
    width, height = shutil.get_terminal_size()
    depth = "no colour" if os.environ.get("NO_COLOR") else _colours()
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    advice = ["make it at least 80×24"] if width < 80 or height < 24 else []
    advice += [] if unicode else ["set LANG to a UTF-8 locale, or use the ascii theme"]
    return Check("terminal", f"{width}×{height}, {depth}, {'unicode' if unicode else 'no unicode'}", "; ".join(advice))


def _colours() -> str:
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256" in os.environ.get("TERM", "") else "16 colours"


def _credentials() -> Check:
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    token_file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    present = bool(os.environ.get("HF_TOKEN")) or token_file.is_file()
    return Check("hub credentials", "present" if present else "none (public models need none)")


def _keys() -> Check:
    """Which services' keys are in the environment; never what they are."""
    present = [name for name, variable in KEYS.items() if os.environ.get(variable)]
    missing = [f"{name} ({variable})" for name, variable in KEYS.items() if name not in present]
    return Check("service keys", "; ".join([*(f"{name} present" for name in present), *(f"no {name}" for name in missing)]))


def _builtin_model() -> Check:
    from .locate import places

    folder = places()["builtin model"]
    if any(folder.glob("*.safetensors")) or any(folder.glob("*/*.safetensors")):
        return Check("builtin:tiny", "found")
    return Check("builtin:tiny", "not found", "install interp-tui again: its model files are missing")


def _themes() -> Check:
    from ..terminal.themes import load_themes

    themes, problems = load_themes()
    return Check("themes", ", ".join(themes) or "none", "; ".join(problems))


def _config() -> Check:
    from ..terminal import config

    read = config.load()
    problems = list(read.problems)
    if read.keys:
        from ..app import InterpApp
        from ..screens import key_ids

        problems += key_ids.problems(read.keys, InterpApp)
    return Check("config", f"{len(read.keys)} keys of your own" if read.keys else "keys as they come", "; ".join(problems))


def _runs(runs: Path | None) -> Check:
    from collections import Counter

    from interp_tui_engine.runfolder import find_runs, runs_root

    listed = find_runs(runs_root(runs))
    states = Counter(run.status().state for run in listed)
    counted = ", ".join(f"{count} {state}" for state, count in states.most_common()) or "none yet"
    stale = [run.path.name for run in listed if run.status().state == "crashed"][:3]
    return Check("runs", counted, f"interp-tui resume goes on with a crashed run: {', '.join(stale)}" if stale else "")


def _estimates(runs: Path | None) -> Check:
    """How far estimates of time were off, over the finished runs here: what the kinds' own counts say against what was taken."""
    import statistics

    from interp_tui_engine import expected_time
    from interp_tui_engine.runfolder import runs_root
    from interp_tui_engine.supervision import sweep_supervisor

    past = expected_time.by_kind(runs_root(runs), sweep_supervisor.estimate)
    parts = []
    for kind, measured in sorted(past.items()):
        factors = sorted(run.factor for run in measured)
        span = f" ({factors[0]:.2g} to {factors[-1]:.2g})" if len(factors) > 1 else ""
        parts.append(
            f"{kind} took {statistics.median(factors):.2g} x its estimate{span}, {len(factors)} run{'s' if len(factors) > 1 else ''}"
        )
    return Check("estimates of time", "; ".join(parts) or "no finished run here to compare with")
