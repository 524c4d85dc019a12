"""Our side: the same call on this engine. For the agreement check it can also be given devinterp's own noise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import interp_tui_engine as engine
from interp_tui_engine.samplers.chains import chain as chain_module
from interp_tui_engine.samplers.noise import noise_source
from interp_tui_engine.samplers.target.parameters import ParameterSpace

from . import shapes
from .work import Bench


class PeerNoise:
    """Noise as devinterp draws it: one generator a chain, seeded init_seed + chain, each parameter in the model's order at every step."""

    def __init__(self, model: torch.nn.Module, seed: int) -> None:
        parameters = dict(model.named_parameters())
        self._space = ParameterSpace(parameters, None)
        slots = {slot.name: slot for slot in self._space.slots}
        self._order = [slots[name] for name in parameters]
        self._generator = torch.Generator().manual_seed(seed)
        self._flat = torch.zeros(self._space.size)
        self._step = -1

    def fill(self, out: torch.Tensor, step: int, block: int) -> torch.Tensor:
        """Like Noise.fill, but steps must come in order."""
        while self._step < step:
            for slot in self._order:
                noise = torch.normal(mean=0.0, std=1.0, size=slot.shape, generator=self._generator)
                self._flat[slot.start : slot.stop] = noise.reshape(-1)
            self._step += 1
        here = self._space.blocks[block]
        return out.copy_(self._flat[here.start : here.stop])


class OurBench(Bench):
    """Adds `peer_noise` to `traces`."""

    def traces(self, model: str, rows: str, settings: dict[str, Any], peer_noise: bool = False, **options: Any) -> Mapping[str, Any]:
        if not peer_noise:
            return super().traces(model, rows, settings, **options)
        loaded = shapes.load(Path(model))

        def source(name: str, seed: int, chain: int, *_: object) -> PeerNoise:
            return PeerNoise(loaded, seed + chain)

        chain_module.noise_source = source  # type: ignore[assignment]
        try:
            return super().traces(model, rows, settings, chains="serial", **options)
        finally:
            chain_module.noise_source = noise_source


if __name__ == "__main__":
    OurBench(engine.sample, engine.compute_llc).serve()
