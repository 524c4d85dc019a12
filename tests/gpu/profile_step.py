"""Sample a few steps on the GPU under PyTorch's profiler; write launches, waits and microseconds a step as JSON.

On a machine without one it runs on the CPU and finds none, which shows that it runs.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.single_sequences import expect_single_sequences
from interp_tui_engine.samplers.chains.executor import choose_executor
from interp_tui_engine.samplers.chains.run import Command, run_chains
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import ModuleTarget
from interp_tui_engine.specs import DataSpec

DRAWS = (10, 30)


def main() -> None:
    """For each way to run chains."""
    expect_single_sequences()
    model = load_model("builtin:tiny", device="cuda" if torch.cuda.is_available() else "cpu")
    rows = load_rows(DataSpec(source="builtin:prose", context=64, rows=128), model.tokenizer, name="train").ids.long()
    found: dict[str, Any] = {}
    for mode, chains in (("stacked", 4), ("stacked", 1), ("vmap", 4), ("serial", 1)):
        short, long = (_profiled(ModuleTarget(model.module, rows, {"train": (rows, 1)}, 16), mode, chains, draws) for draws in DRAWS)
        for what in ("launches", "waits", "microseconds of kernels"):
            found[f"{mode}, {chains} chains: {what}"] = (long[what] - short[what]) / (DRAWS[1] - DRAWS[0])
        Path(sys.argv[1]).write_text(json.dumps(found, indent=1), encoding="utf-8")  # of each as it is there: time may run out


def _profiled(problem: ModuleTarget, mode: Any, chains: int, draws: int) -> Counter[str]:
    settings = dict(lr=1e-4, n_beta=30.0, localization=100.0, batch_size=16, num_init_loss_batches=1)
    config = SamplerConfig.model_validate(settings | {"num_chains": chains, "num_draws": draws})
    executor = choose_executor(problem, config, range(chains), mode)
    on_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]) as profiler:
        run_chains(
            problem,
            config,
            chains=range(chains),
            store=None,
            executor=executor,
            checkpoint_dir=None,
            checkpoint_every=None,
            poll=lambda: Command.GO,
            report=lambda snapshot: None,
            report_every=1e9,
            warn=lambda text: None,
        )
        if on_gpu:
            torch.cuda.synchronize()
    counts: Counter[str] = Counter()
    for event in profiler.events():
        if event.name in ("cudaLaunchKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC", "cudaGraphLaunch"):
            counts["launches"] += 1
        if event.name in ("cudaStreamSynchronize", "cudaDeviceSynchronize"):
            counts["waits"] += 1
        if event.device_type is torch.autograd.DeviceType.CUDA:
            counts["microseconds of kernels"] += int(event.time_range.elapsed_us())
    return counts


if __name__ == "__main__":
    main()
