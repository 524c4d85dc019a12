"""Make `references` importable, keep torch to one thread, and hold small random problems."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def x() -> torch.Tensor:
    """A batch of 24 inputs of width 12, away from the origin."""
    return torch.randn(24, 12, generator=torch.Generator().manual_seed(3)) + torch.linspace(-1, 2, 12)
