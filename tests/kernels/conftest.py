"""Kernels run by Triton's interpreter, on tensors of the CPU. It is chosen when triton is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "engine" / "samplers"))  # for sampler_models
