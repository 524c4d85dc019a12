"""Standard normal numbers from a counter: Philox 4x32-10 and Box-Muller. The same on every device, in any order and in blocks of any size.

Salmon, Moraes, Dror & Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", SC '11. Ten rounds turn a counter of four 32-bit words
into four random words:

    (hi0, lo0) = D2511F53 · c0,  (hi1, lo1) = CD9E8D57 · c2
    c <- (hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0),  k <- (k0 + 9E3779B9, k1 + BB67AE85)

The key and the counter's last word come from (seed, chain, stream); the counter's first two words are element // 4 in the flat vector of
weights, the third is the step. Words a, b give two numbers: r = sqrt(-2 ln u), u = (a + 1/2) 2^-32, times cos and sin of 2 pi b 2^-32.
The words are equal to the bit everywhere; log, cos and sin differ by units in the last place between libraries, so that the bits of the
numbers are those of one device model. |z| is at most 6.8.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.device import launching_on

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_AT_ONCE = 1 << 16
"""Numbers made at once on a CPU, so that the words stay in a core's cache."""

Words = tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]


def signed(word: int) -> int:
    """A 64-bit word as the int64 that has its bits."""
    return word - (1 << 64) if word >> 63 else word


def random_words(counter: Words, key: tuple[int, int]) -> Words:
    """Philox 4x32-10 of many counters at once. Words are held in int64, whose wrapped products have the low 64 bits of the true ones."""
    return _mixed(counter, _round_keys(key))


def _round_keys(key: tuple[int, int]) -> list[tuple[int, int]]:
    """The key of each round."""
    return [((key[0] + i * WEYL[0]) & _MASK, (key[1] + i * WEYL[1]) & _MASK) for i in range(ROUNDS)]


def _mixed(counter: Words, keys: Sequence[tuple[int, int]] | Sequence[tuple[Tensor, Tensor]]) -> Words:
    c0, c1, c2, c3 = counter
    for k0, k1 in keys:
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = (second >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(_MASK)
        c2 = (first >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(_MASK)
        c1, c3 = second.bitwise_and_(_MASK), first.bitwise_and_(_MASK)
    return c0, c1, c2, c3


def _pair(a: Int[Tensor, " n"], b: Int[Tensor, " n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Two independent normal numbers of each pair of words."""
    radius = a.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).clamp_min_(0.0).sqrt_()  # a + 1/2 may round up to 2^32
    angle = b.float().mul_(2 * math.pi * 2.0**-32)
    return radius * angle.cos(), radius * angle.sin()


@cache
def has_kernel(device: torch.device) -> bool:
    """Whether the Triton kernel runs on this CUDA device and gives the numbers that PyTorch's operations give."""
    source = PhiloxSource(0, 0, [0], "trial")
    try:
        by_kernel = torch.empty(4096, device=device)
        _fill_by_kernel(by_kernel, 4 << 33, 3, source)
        by_operations = source.fill_by_operations(torch.empty(4096, device=device), 4 << 33, 3)
        return torch.allclose(by_kernel, by_operations, rtol=1e-5, atol=1e-5)
    except Exception:  # no triton, no compiler for it, an architecture it does not know: the operations do as well
        return False


def _fill_by_kernel(out: Float[Tensor, " n"], start: int, step: int, source: PhiloxSource) -> None:
    where = torch.full((1,), step & _MASK, device=out.device)  # a launch of its own, but no copy from the host
    source.on(out.device).fill_by_kernel(out[None], where, start)


class PhiloxSource:
    """The noise of one chain in one stream, with the interface of `noise.NoiseSource`. It has no state: threads may share it.

    starts: where each block begins in the flat vector; multiples of 4.
    """

    def __init__(self, seed: int, chain: int, starts: Sequence[int], stream: str) -> None:
        assert all(start % 4 == 0 for start in starts), "a block begins with a new counter"
        digest = hashlib.blake2b(f"philox:{stream}:{seed}:{chain}".encode(), digest_size=12).digest()
        self.key = (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))
        self.last = int.from_bytes(digest[8:], "little")
        self._starts = tuple(starts)
        self._on: dict[torch.device, StackedPhilox] = {}

    def on(self, device: torch.device) -> StackedPhilox:
        """This source by itself, its key on the device."""
        if device not in self._on:
            self._on[device] = StackedPhilox([self], device)
        return self._on[device]

    def fill(self, out: Float[Tensor, " n"], step: int, block: int) -> Float[Tensor, " n"]:
        """Overwrite `out` with N(0, 1): the numbers of this step at the elements of this block."""
        return self.fill_from(out, self._starts[block], step)

    def fill_from(self, out: Float[Tensor, " n"], start: int, step: int) -> Float[Tensor, " n"]:
        """The same at the elements from `start` on, a multiple of 4."""
        if out.is_cuda and has_kernel(out.device):
            _fill_by_kernel(out, start, step, self)
            return out
        return self.fill_by_operations(out, start, step)

    def fill_by_operations(self, out: Float[Tensor, " n"], start: int, step: int) -> Float[Tensor, " n"]:
        """The numbers of the elements from `start` on, by PyTorch's own operations: on any device, at some 120 launches."""
        count = out.shape[0]
        at_once = _AT_ONCE if out.device.type == "cpu" else count
        for first in range(0, count, at_once):
            part = out[first : first + at_once]
            quads = -(-part.shape[0] // 4)
            counter = torch.arange(quads, dtype=torch.int64, device=out.device) + (start + first) // 4
            third, fourth = (torch.full_like(counter, word) for word in (step & _MASK, self.last))
            a, b, c, d = random_words((counter & _MASK, counter >> 32, third, fourth), self.key)
            part.copy_(torch.stack([*_pair(a, b), *_pair(c, d)], dim=1).view(-1)[: part.shape[0]])
        return out


class StackedPhilox:
    """The noise of several chains at once, at a step that lies on the device: what `sources` give one by one, to the bit."""

    def __init__(self, sources: Sequence[PhiloxSource], device: torch.device) -> None:
        words = [signed(source.key[1] << 32 | source.key[0]) for source in sources]
        self.keys, self.lasts = torch.tensor(words, device=device), torch.tensor([source.last for source in sources], device=device)
        rounds = zip(*(_round_keys(source.key) for source in sources), strict=True)
        table = torch.tensor([[[key[half] for key in keys] for half in (0, 1)] for keys in rounds], device=device)
        self._rounds = [(first[:, None], second[:, None]) for first, second in table]

    def fill(self, out: Float[Tensor, "chains n"], step: Int[Tensor, " 1"]) -> None:
        """Overwrite `out` with N(0, 1): the numbers of this step at the elements from 0 on. Nothing waits for the device."""
        if out.is_cuda and has_kernel(out.device):
            self.fill_by_kernel(out, step, 0)
        else:
            self.fill_by_operations(out, step)

    def fill_by_operations(self, out: Float[Tensor, "chains n"], step: Int[Tensor, " 1"]) -> None:
        """By PyTorch's own operations, at as many launches for all chains as for one."""
        chains, count = out.shape
        at_once = max(4, _AT_ONCE // chains // 4 * 4) if out.device.type == "cpu" else count
        fourth, third = self.lasts[:, None], step.bitwise_and(_MASK)
        for first in range(0, count, at_once):
            part = out[:, first : first + at_once]
            quads = -(-part.shape[1] // 4)
            counter = torch.arange(first // 4, first // 4 + quads, dtype=torch.int64, device=out.device)
            words = (word.expand(chains, quads) for word in (counter & _MASK, counter >> 32, third, fourth))
            c0, c1, c2, c3 = words
            a, b, c, d = _mixed((c0, c1, c2, c3), self._rounds)
            part.copy_(torch.stack([*_pair(a, b), *_pair(c, d)], dim=2).view(chains, -1)[:, : part.shape[1]])

    def fill_by_kernel(self, out: Float[Tensor, "chains n"], step: Int[Tensor, " 1"], element: int) -> None:
        """By the Triton kernel, in one launch, from an element on that is a multiple of 4."""
        from .philox_triton import fill

        with launching_on(out.device):
            fill(out, element, step, self.keys, self.lasts)
