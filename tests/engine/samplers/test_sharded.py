"""Weights that lie on several devices: each part has the whole's noise, masks and anchors, and checkpoints that all parts have agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp_tui_engine.errors import UserError
from interp_tui_engine.samplers.chains import checkpoint
from interp_tui_engine.samplers.chains.checkpoint import ChainFiles
from interp_tui_engine.samplers.philox import PhiloxSource
from interp_tui_engine.samplers.sharded.noise import ShardedNoise
from interp_tui_engine.samplers.sharded.ranks import Ranks
from interp_tui_engine.samplers.sharded.space import ShardedSpace
from interp_tui_engine.samplers.target.parameters import ParameterSpace

SHAPES = {"embed": (301, 6), "norm": (7,), "large": (517, 130), "odd": (5, 3), "wide": (3, 40_001)}


class CutUp:
    """A parameter as FSDP2 leaves it on one rank: its rows, and the shape of the whole."""

    def __init__(self, whole: Tensor, ranks: Ranks) -> None:
        self.shape, self.dtype, self.grad = whole.shape, whole.dtype, None
        parts = list(whole.chunk(ranks.count))
        self._local = parts[ranks.rank] if ranks.rank < len(parts) else whole[:0]

    def to_local(self) -> Tensor:
        return self._local

    def is_floating_point(self) -> bool:
        return True


class OwnRows:
    """As `models.sharding.ShardedRows`, of parameters that no module holds."""

    def __init__(self, parameters: dict[str, CutUp]) -> None:
        self.parameters = parameters

    def lent(self, name: str) -> bool:
        return False


def whole() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def masks_of(seed: int) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    return {name: (torch.rand(shape, generator=generator) < 0.3).float() for name, shape in SHAPES.items() if name != "odd"} | {"odd": None}


def spaces(count: int, masks: Any) -> list[ShardedSpace]:
    made = []
    for rank in range(count):
        ranks = Ranks(rank, count, SimpleNamespace(device_type="cpu"))  # type: ignore[arg-type]
        made.append(ShardedSpace(OwnRows({name: CutUp(value, ranks) for name, value in whole().items()}), masks, ranks))  # type: ignore[arg-type]
    return made


def filled(space: Any, stream: str) -> dict[str, Tensor]:
    """The noise of one step, masked, by parameter."""
    flat = torch.zeros(space.size)
    source = space.noise("philox", 3, 1, stream)
    for block in space.blocks:
        noise = source.fill(torch.empty(block.stop - block.start), 17, block.index)
        flat[block.start : block.stop] = noise if block.mask is None else noise * block.mask
    return dict(space.views(flat))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("masks", [None, masks_of(1)], ids=["all", "masked"])
def test_parts_together_are_the_whole_to_the_bit(count: int, masks: Any) -> None:
    one, parts = ParameterSpace(whole(), masks), spaces(count, masks)
    want, got = filled(one, "step"), [filled(part, "step") for part in parts]
    for name in SHAPES:
        assert torch.equal(torch.cat([part[name] for part in got]), want[name]), name
        assert torch.equal(torch.cat([part.anchors()[name] for part in parts]), one.anchors()[name]), name
    assert {part.numel for part in parts} == {one.numel}


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 1 << 40), size=st.integers(1, 40))
def test_a_part_may_begin_and_end_anywhere(start: int, size: int) -> None:
    first = start - start % 4
    want = PhiloxSource(1, 2, [first], "step").fill(torch.empty(size + 4), 5, 0)[start - first :][:size]
    assert torch.equal(ShardedNoise(1, 2, [[(0, size, start)]], "step").fill(torch.empty(size), 5, 0), want)


def test_what_leaves_a_device_nothing_to_move_is_refused_by_all() -> None:
    for rank in range(4):
        ranks = Ranks(rank, 4, SimpleNamespace(device_type="cpu"))  # type: ignore[arg-type]
        with pytest.raises(UserError, match="lies on fewer than the 4 devices"):
            ShardedSpace(OwnRows({"w": CutUp(torch.zeros(3, 8), ranks)}), None, ranks)  # type: ignore[arg-type]


class Parts:
    """Two parts that have been killed somewhere, and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [ChainFiles(folder, self._space(rank)) for rank in range(2)]

    def _space(self, rank: int) -> Any:
        return SimpleNamespace(part=f"rank {rank} of 2", newest_common=self._common)

    def _kept(self, rank: int) -> list[int]:
        paths = sorted(self.folder.glob(f"chain-00003.rank-{rank}-*"))
        return [int(saved["chains"][0]["step"]) for path in paths if (saved := checkpoint.load(path)) is not None]

    def _common(self, steps: Sequence[int]) -> int | None:
        return max(set(self._kept(0)) & set(self._kept(1)), default=None)

    def save(self, rank: int, step: int) -> None:
        self.files[rank].save(3, {"chains": [{"step": step}]})

    def load(self) -> list[int | None]:
        common = self._common([])
        for files in self.files:  # a collective call: both have said what they have before either acts
            files._space.newest_common = lambda steps: common  # type: ignore[method-assign,misc]
        loaded = [files.load(3) for files in self.files]
        return [None if saved is None else int(saved["chains"][0]["step"]) for saved in loaded]


def test_parts_go_on_from_the_newest_step_that_all_have(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    assert parts.load() == [None, None]
    parts.save(0, 5)
    assert parts.load() == [None, None], "the other was killed before its first"
    assert not list(tmp_path.iterdir())
    for step in (5, 9):
        parts.save(0, step), parts.save(1, step)
    assert parts.load() == [9, 9]
    parts.save(0, 12)
    assert parts.load() == [9, 9]
    parts.save(1, 14)
    parts.save(0, 14)
    assert parts.load() == [14, 14]
    parts.save(1, 20)
    assert parts.load() == [14, 14], "what one had alone is not what it kept from before"
    parts.save(0, 16), parts.save(1, 16)
    (tmp_path / "chain-00003.rank-1-of-2.pt").unlink()  # killed between putting the last one aside and writing the new one
    assert parts.load() == [14, 14]
