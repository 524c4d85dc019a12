"""The Triton kernel under Triton's interpreter, against the slow reference. Skipped without triton, which CPU builds of torch lack."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import importlib.util, sys
import torch
from references import philox as reference
spec = importlib.util.spec_from_file_location("philox_triton", sys.argv[1])
kernel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
worst = 0.0
for seed, chain, stream, step, element, count in [
    (0, 0, "step", 0, 0, 1), (1, 0, "step", 1, 4, 7), (100, 3, "step", 2**31, 4 * 2**33, 1030), (5, 9, "init", 0, 65_536, 4096)
]:
    k0, k1, last = reference.key_of(seed, chain, stream)
    key = k1 << 32 | k0
    keys = torch.tensor([0, key - (1 << 64) if key >> 63 else key])  # of two chains, the second is looked at
    both = torch.full((2, count + 3), 99.0)
    kernel.fill(both[:, :count], element, torch.tensor([step]), keys, torch.tensor([0, last]))
    out = both[1]
    assert (out[count:] == 99.0).all(), "nothing is written beyond the end"
    want = torch.tensor([reference.normal(seed, chain, stream, step, element + i) for i in range(count)], dtype=torch.float64)
    gap = (out[:count].double() - want).abs()
    assert (gap <= 6e-6 + 2e-6 * want.abs()).all(), float(gap.max())
    worst = max(worst, float(gap.max()))
print(f"largest difference {worst:.1e}")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton comes with builds of torch for a GPU")
def test_the_kernel_gives_the_references_numbers() -> None:
    """In a process of its own: the interpreter is chosen when triton is imported."""
    kernel = ROOT / "engine" / "interp_tui_engine" / "samplers" / "philox_triton.py"
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT / "tests")}
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(kernel)], env=environment, capture_output=True, text=True, timeout=250)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "largest difference" in ended.stdout
