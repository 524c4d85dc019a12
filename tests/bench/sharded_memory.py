"""Memory of a chain whose model lies on one device or is cut up over two (gloo, on this machine's CPU): by how much each rank has less.

    python -m tests.bench.sharded_memory [LAYERS]

A randomly initialised Llama of 12 layers or so many (width 768, vocabulary 2,048: 88 or, of 24 layers, 173 M parameters in float32), SGLD
on all weights, 4 rows of 64 tokens, three steps with a look at the loss at w0. The peak is the resident set of a process from the moment
its model is in place (the kernel's VmHWM, reset then) less what it was before the model came; that of loading counts until then. As in a
run, rank 0 has the whole model first and the other gets its rows from it. The C library is told to give every large block back when it is
freed: left to itself it keeps the holes that the whole model leaves, and a rank seems to need more than one device.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = 3


def peak(key: str) -> int:
    """Bytes of this process in the kernel's own words."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def sent() -> int:
    """Bytes that this process has written, sockets included: with gloo, what it has sent to the other rank."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def measure(rank: int, count: int, meeting: str, layers: int) -> None:
    """One rank's chain; says its peak in MB and the losses."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from interp_tui_engine.samplers.batches import BatchOrder
    from interp_tui_engine.samplers.chains.anchor_loss import AnchorLoss
    from interp_tui_engine.samplers.chains.chain import Chain
    from interp_tui_engine.samplers.chains.microbatch import Microbatch
    from interp_tui_engine.samplers.chains.record import ChainRecord
    from interp_tui_engine.samplers.settings import SamplerConfig
    from interp_tui_engine.samplers.target.problem import ModuleTarget

    torch.set_num_threads(1)
    before = peak("VmRSS")
    shape: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": layers, "num_attention_heads": 12}
    config = LlamaConfig(vocab_size=2048, **shape)
    with torch.device("meta"):
        size = sum(p.numel() for p in LlamaForCausalLM(config).parameters())

    def made() -> Any:
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)

    rows = torch.randint(0, 2048, (8, 65), generator=torch.Generator().manual_seed(1))
    problem: Any
    if count == 1:
        problem = ModuleTarget(made(), rows, {}, 4)
    else:
        import torch.distributed as dist
        from torch.distributed.device_mesh import init_device_mesh

        from interp_tui_engine.models import without_weights
        from interp_tui_engine.models.sharding import shard
        from interp_tui_engine.samplers.sharded.ranks import Ranks
        from interp_tui_engine.samplers.sharded.target import ShardedTarget

        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
        ranks = Ranks(rank, count, init_device_mesh("cpu", (count,)))
        if rank == 0:
            model = made()
            ranks.told(without_weights.packed(model))
        else:
            model = without_weights.unpacked(ranks.told(None))
        shard(model, ranks.mesh)
        problem = ShardedTarget(model, rows, {}, 4, ranks)
    whole = peak("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    settings = SamplerConfig(lr=1e-6, n_beta=30.0, localization=100.0, num_chains=1, num_draws=STEPS, batch_size=4, num_init_loss_batches=1)
    order, pieces = BatchOrder(problem.rows, settings), Microbatch(4, print)
    record = ChainRecord(0, settings, {}, None)
    anchor = AnchorLoss(problem, settings, order, pieces, None)
    chain = Chain(problem, settings, record, order, pieces, None, 1, "philox")
    losses = []
    before_steps = sent()
    for step in range(STEPS):
        anchor.cover(step, 0)
        chain.step()
        losses.append(record.now.loss)
    used = peak("VmHWM") - before
    sys.stdout.write(
        f"rank {rank} of {count}: {size / 1e6:.0f} M parameters, peak {used / 1e6:.0f} MB sampling "
        f"({used / size / 4:.2f} x the weights), {(whole - before) / 1e6:.0f} MB while loading; "
        f"sent {(sent() - before_steps) / STEPS / size / 4:.2f} x the weights a step; losses {losses}\n"
    )


def main() -> None:
    """Both, one after the other, each rank a process of its own."""
    if len(sys.argv) > 2:
        measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return
    layers = sys.argv[1] if len(sys.argv) > 1 else "12"
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.bench.sharded_memory"]
            environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
            run = [
                subprocess.Popen([*command, str(rank), str(count), f"{folder}/meeting", layers], env=environment) for rank in range(count)
            ]
            for process in run:
                process.wait()


if __name__ == "__main__":
    main()
