"""A second of work on each GPU that torch can use: what runs there, and what will be slow and why.

    python -m interp_tui_engine.runtime.gpu_check        a JSON list, one entry a GPU

In a process of its own: the context that work needs on a GPU takes some 400 MB until the process ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from ..models.device import available, gpu_model

WIDTH = 2048
"""Of the matrices that are multiplied."""
SECONDS = 0.2


@dataclass(frozen=True)
class GpuTrial:
    """One thing that was tried: what came of it, and what to do where it did not go well (empty where it did)."""

    name: str
    result: str
    advice: str = ""


def products(device: torch.device) -> GpuTrial:
    """Products of float32 matrices: right to rounding, and how fast."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(WIDTH, WIDTH, generator=draw) for _ in range(2))
    here, there = left.to(device), right.to(device)
    want = left[:8].double() @ right.double()
    gap = float(((here @ there)[:8].double().cpu() - want).abs().max())
    if not gap < 1e-5 * WIDTH**0.5 * 8:
        return GpuTrial("products", f"a product is off by {gap:.2g}", "this GPU computes wrongly: choose another, and have it looked at")
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        for _ in range(4):
            here @ there
        _wait(device)
        count += 4
    rate = 2 * WIDTH**3 * count / (time.perf_counter() - begun)
    return GpuTrial("products", f"{rate / 1e12:.3g} TFLOP/s in float32")


def noise_kernel(device: torch.device) -> GpuTrial:
    """The kernels that make the samplers' noise, with the update or without."""
    from ..samplers.fused.available import trial
    from ..samplers.philox import has_kernel

    if has_kernel(device):
        if reason := trial(device, "sgmcmc_sgld"):
            return GpuTrial("noise", "in one launch, and the update in some ten", f"the kernel of both does not run here: {reason}")
        return GpuTrial("noise", "in one launch with the update")
    try:
        import triton  # noqa: F401
    except ImportError:
        return GpuTrial("noise", "in some 120 launches: there is no triton", "pip install triton, which comes with torch's builds for CUDA")
    return GpuTrial("noise", "in some 120 launches: its kernel does not run here", "triton needs a C compiler and Python's headers")


def recording(device: torch.device) -> GpuTrial:
    """A step that is recorded once and played again."""
    from ..samplers.chains.graphs import cuda_recorder

    record = cuda_recorder(device)
    if record is None:
        return GpuTrial("recording", "not on this device")
    counter = torch.zeros(1, device=device)

    def step() -> None:
        counter.add_(1)

    step()
    play = record(step)
    play()
    play()
    if float(counter) != 3.0:
        return GpuTrial("recording", f"a recorded step played wrongly ({float(counter)} for 3)", "update the driver")
    return GpuTrial("recording", "a step is one launch")


TRIALS: dict[str, Callable[[torch.device], GpuTrial]] = {"products": products, "noise": noise_kernel, "recording": recording}
ADVICE = {
    "products": "other programs may hold its memory: see nvidia-smi",
    "noise": "noise is made by plain operations: steps of small models are slower",
    "recording": "steps are launched operation by operation: those of small models are several times slower",
}


def examine(device: torch.device) -> list[GpuTrial]:
    """Every trial on one device; one that fails is told with its error."""
    trials = []
    for name, attempt in TRIALS.items():
        try:
            trials.append(attempt(device))
        except Exception as error:  # whatever back ends raise: the check tells it
            trials.append(GpuTrial(name, f"failed: {str(error).partition(chr(10))[0][:200]}", ADVICE[name]))
    return trials


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Examine all GPUs and print what came of it."""
    gpus = [torch.device(name) for name in available() if name.startswith("cuda")]
    report = [{"device": str(gpu), "model": gpu_model(gpu), "trials": [asdict(trial) for trial in examine(gpu)]} for gpu in gpus]
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
