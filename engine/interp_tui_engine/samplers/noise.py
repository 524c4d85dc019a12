"""Standard normal numbers as a function of (seed, chain, stream, step, block), and on the CPU of nothing else.

A chain's noise is the same whatever number of threads draws it and whichever other chains run, and any step's noise can be drawn
without drawing those before it: resuming needs no generator state. A vector is cut into blocks of `BLOCK` numbers, each drawn from a
generator seeded for that block; the blocks of one step may be drawn by several threads (torch releases the GIL while it draws).
`Tensor.normal_` is the fastest source on CPUs that numpy or torch offer: 0.26 G numbers/s a core, against 0.08 for numpy's SFC64. CUDA's
splits a block over as many threads as the device model has, and so gives other numbers on another model: there `philox` is for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from .philox import PhiloxSource, has_kernel

NoiseName = Literal["torch", "philox"]
"""Which numbers a run's noise is made of; recorded with it."""

BLOCK = 1 << 16
"""Numbers per block: 256 KiB, so that a block of weights, gradient, anchor and noise stays in a core's L2 cache."""

_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def _mix32(x: int) -> int:
    """murmur3's finaliser: a bijection of 32-bit integers."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _MASK32
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _MASK32
    return x ^ (x >> 16)


def _mix64(x: int) -> int:
    """splitmix64's finaliser: a bijection of 64-bit integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK64
    return x ^ (x >> 31)


class Noise(Protocol):
    """The noise of one chain in one stream."""

    def fill(self, out: Float[Tensor, " n"], step: int, block: int) -> Float[Tensor, " n"]:
        """Overwrite `out` with N(0, 1): the numbers of this step and block."""


def noise_source(name: NoiseName, seed: int, chain: int, starts: Sequence[int], stream: str, device: torch.device) -> Noise:
    """The source of that name. starts: where each block begins in the flat vector."""
    if name == "philox":
        return PhiloxSource(seed, chain, starts, stream)
    return NoiseSource(seed, chain, len(starts), stream, device)


def choose_noise(device: torch.device) -> NoiseName:
    """The numbers to use where none are asked for: Philox's where a kernel makes them, else torch's, which are the fastest a CPU has."""
    return "philox" if device.type == "cuda" and has_kernel(device) else "torch"


class NoiseSource:
    """The noise of one chain in one stream. Not shared between threads: it owns its generator.

    `blocks_per_step` fixes how many blocks one step has, so that (step, block) numbers them all.
    """

    def __init__(self, seed: int, chain: int, blocks_per_step: int, stream: str, device: torch.device) -> None:
        digest = hashlib.blake2b(f"{stream}:{seed}:{chain}".encode(), digest_size=16).digest()
        self._offset = int.from_bytes(digest[:8], "little")
        self._whiten = int.from_bytes(digest[8:], "little")
        self._blocks = blocks_per_step
        self._generator = torch.Generator(device)
        self._bits = 32 if device.type == "cpu" else 64

    def fill(self, out: Float[Tensor, " n"], step: int, block: int) -> Float[Tensor, " n"]:
        """Overwrite `out` with N(0, 1): the numbers of this step and block."""
        self._generator.manual_seed(self._seed(step * self._blocks + block))
        return out.normal_(generator=self._generator)

    def _seed(self, index: int) -> int:
        """A bijection of `index` within the chain, so that no two blocks of a chain share a seed.

        The CPU generator (MT19937) keeps 32 bits of its seed; a plain hash of the key to 32 bits would repeat after some 60,000 blocks.
        """
        if self._bits == 32:
            return _mix32((_mix32((index + self._offset) & _MASK32)) ^ (self._whiten & _MASK32))
        return _mix64(_mix64((index + self._offset) & _MASK64) ^ self._whiten)
