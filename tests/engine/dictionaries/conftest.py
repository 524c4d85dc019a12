"""Small random problems."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def x() -> torch.Tensor:
    """A batch of 24 inputs of width 12, away from the origin."""
    return torch.randn(24, 12, generator=torch.Generator().manual_seed(3)) + torch.linspace(-1, 2, 12)
